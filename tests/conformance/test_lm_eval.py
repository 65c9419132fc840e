"""lm-evaluation-harness against the server: the same log-likelihoods as `score` gives, and generation until stops."""

import json
import os

import pytest

import harness

os.environ["HF_HUB_OFFLINE"] = os.environ["HF_DATASETS_OFFLINE"] = "1"

PAIRS = [("What is 12 + 7?", " 19"), ("In the beginning", " God created the heaven"), ("To be, or not", " to be"),
         ("hello", " there"), ("The king", ", my lord"), ("  spaced", "  out"), ("naïve", " café 日本"), ("", "And God said")]


@pytest.fixture(scope="module")
def completions(server):
    from lm_eval.models.openai_completions import LocalCompletionsAPI

    return LocalCompletionsAPI(base_url=f"{server.url}/v1/completions", model=harness.NAME, tokenizer_backend="remote",
                               num_concurrent=1, max_retries=1, batch_size=4)


@pytest.fixture(scope="module")
def chats(server):
    from lm_eval.models.openai_completions import LocalChatCompletion

    return LocalChatCompletion(base_url=f"{server.url}/v1/chat/completions", model=harness.NAME, num_concurrent=2,
                               max_retries=1)


def instances(kind, arguments):
    from lm_eval.api.instance import Instance

    return [Instance(request_type=kind, doc={}, arguments=entry, idx=index) for index, entry in enumerate(arguments)]


def scored(token_lists):
    lines = "\n".join(json.dumps({"tokens": tokens}) for tokens in token_lists)
    done = harness.run("score", "--model", harness.MODEL, "--input", "-", stdin=lines)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.parametrize("index", range(len(PAIRS)))
def test_loglikelihoods_are_those_of_score(completions, index):
    context, continuation = PAIRS[index]
    (result,) = completions.loglikelihood(instances("loglikelihood", [(context, continuation)]), disable_tqdm=True)
    # The very tokens that the harness chose, scored without the server.
    if context == "":
        context_ids = [completions.prefix_token_id]
        continuation_ids = completions.tok_encode(continuation)
        if continuation_ids[0] == context_ids[0]:
            context_ids, continuation_ids = continuation_ids[:1], continuation_ids[1:]
    else:
        context_ids, continuation_ids = completions._encode_pair(context, continuation)
    (score,) = scored([context_ids + continuation_ids])
    begin = len(context_ids)
    # score's entry i belongs to token i + 1.
    expected = sum(score["logprobs"][begin - 1:begin - 1 + len(continuation_ids)])
    assert result[0] == pytest.approx(expected, abs=2e-3)
    assert result[1] == (score["top1"][begin - 1:begin - 1 + len(continuation_ids)] == continuation_ids)


def test_a_batch_is_as_good_as_one_by_one(completions):
    together = completions.loglikelihood(instances("loglikelihood", PAIRS[:6]), disable_tqdm=True)
    alone = [completions.loglikelihood(instances("loglikelihood", [pair]), disable_tqdm=True)[0] for pair in PAIRS[:6]]
    for one, other in zip(together, alone):
        assert one[0] == pytest.approx(other[0], abs=1e-3) and one[1] == other[1]


def test_rolling_loglikelihood_covers_a_text(completions):
    text = "In the beginning God created the heaven and the earth."
    (value,) = completions.loglikelihood_rolling(instances("loglikelihood_rolling", [(text,)]), disable_tqdm=True)
    assert -200 < (value[0] if isinstance(value, tuple) else value) < 0


def test_generates_until_a_stop(completions):
    request = ("In the beginning", {"until": [","], "max_gen_toks": 32, "temperature": 0})
    (text,) = completions.generate_until(instances("generate_until", [request]), disable_tqdm=True)
    assert "," not in text


def test_chat_generates(chats):
    messages = json.dumps([{"role": "user", "content": "What is 12 + 7?"}])
    from lm_eval.models.api_models import JsonChatStr

    request = (JsonChatStr(messages), {"until": ["\n\n"], "max_gen_toks": 16, "temperature": 0})
    (text,) = chats.generate_until(instances("generate_until", [request]), disable_tqdm=True)
    assert "19" in text


TASK = """
task: switchyard_sums
dataset_path: json
dataset_kwargs: {{data_files: {{test: "{data}"}}}}
test_split: test
output_type: multiple_choice
doc_to_text: "{{{{question}}}}"
doc_to_target: "{{{{answer}}}}"
doc_to_choice: "{{{{choices}}}}"
target_delimiter: " "
metric_list: [{{metric: acc}}]
"""


def test_a_whole_task_is_evaluated(completions, tmp_path, monkeypatch):
    import lm_eval
    from lm_eval.tasks import TaskManager

    monkeypatch.setenv("HF_HOME", str(tmp_path / "cache"))
    sums = [(a, b) for a in (2, 5, 9, 12) for b in (3, 7)]
    with open(tmp_path / "sums.jsonl", "w") as data:
        for a, b in sums:
            choices = [str(a + b), str(a + b + 1), str(a + b - 3)]
            data.write(json.dumps({"question": f"What is {a} + {b}?", "choices": choices, "answer": 0}) + "\n")
    (tmp_path / "sums.yaml").write_text(TASK.format(data=tmp_path / "sums.jsonl"))
    manager = TaskManager(include_path=str(tmp_path), include_defaults=False)
    report = lm_eval.simple_evaluate(model=completions, tasks=["switchyard_sums"], task_manager=manager,
                                     bootstrap_iters=0)
    accuracy = report["results"]["switchyard_sums"]["acc,none"]
    assert report["n-samples"]["switchyard_sums"]["effective"] == len(sums) and 0 <= accuracy <= 1
