"""generate, score, --check and the errors of the command line."""

import json

import pytest

import harness

GOLDEN_MODELS = sorted(path.parent for path in (harness.SOURCE / "tests" / "golden").glob("*/config.json"))


def golden_of(model):
    return json.loads((model / "golden.json").read_text())


def generate(*arguments):
    done = harness.run("generate", *arguments, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_generate_answers_golden_chats(golden):
    for chat in golden["chats"][:2]:
        answer = generate("--model", harness.MODEL, "--ranks", "2", "--chat", "--prompt", chat["user"])
        assert answer["tokens"] == chat["answer_tokens"]
        assert answer["text"].strip() == chat["answer"].strip()
        assert answer["finish_reason"] == "stop"
        assert answer["usage"]["prompt_tokens"] == len(chat["prompt_tokens"])
        assert answer["usage"]["completion_tokens"] == len(chat["answer_tokens"])


def test_generate_streams_the_same_text():
    arguments = ["--model", harness.MODEL, "--prompt", "In the beginning", "--max-tokens", "12"]
    assert harness.run("generate", *arguments).stdout == generate(*arguments)["text"] + "\n"


@pytest.mark.parametrize("model", GOLDEN_MODELS, ids=lambda model: model.name)
def test_generate_works_on_token_ids_without_a_tokenizer(model):
    greedy = golden_of(model)["greedy"]
    answer = generate("--model", model, "--ranks", "2", "--prompt-tokens", ",".join(map(str, greedy["prompt"])),
                      "--max-tokens", len(greedy["continuation"]), "--temperature", "0", "--ignore-eos")
    assert answer["tokens"] == greedy["continuation"]
    assert answer["text"] == ""
    assert answer["finish_reason"] == "length"


@pytest.mark.parametrize("model", [harness.MODEL, *GOLDEN_MODELS], ids=lambda model: model.name)
def test_score_agrees_with_the_reference(model):
    sequences = golden_of(model)["sequences"]
    lines = "".join(json.dumps({"tokens": sequence["tokens"]}) + "\n" for sequence in sequences)
    done = harness.run("score", "--model", model, "--ranks", "2", "--max-batch-tokens", "16", "--input", "-", stdin=lines)
    assert done.returncode == 0, done.stderr
    scores = [json.loads(line) for line in done.stdout.splitlines()]
    assert [score["tokens"] for score in scores] == [sequence["tokens"] for sequence in sequences]
    for score, sequence in zip(scores, sequences):
        assert score["logprobs"] == pytest.approx(sequence["logprobs"], abs=1e-3)
        assert len(score["top1"]) == len(score["tokens"])
        margins = sequence.get("top1_margin", [1] * len(sequence["top1"]))
        assert [top for top, margin in zip(score["top1"], margins) if margin > 1e-3] == [
            top for top, margin in zip(sequence["top1"], margins) if margin > 1e-3]


def test_score_tokenizes_text_and_keeps_the_order(golden, tmp_path):
    texts = [sequence["text"] for sequence in golden["sequences"]]
    path = tmp_path / "input.jsonl"
    path.write_text("\n\n".join(json.dumps({"text": text}) for text in texts * 3))
    one, many = (harness.run("score", "--model", harness.MODEL, "--input", path, "--batch", batch) for batch in (1, 64))
    assert one.returncode == many.returncode == 0, many.stderr
    tokens = [json.loads(line)["tokens"] for line in many.stdout.splitlines()]
    assert tokens == [sequence["tokens"] for sequence in golden["sequences"]] * 3
    perplexities = [[json.loads(line)["perplexity"] for line in done.stdout.splitlines()] for done in (one, many)]
    assert perplexities[0] == pytest.approx(perplexities[1], rel=1e-3)


def test_score_of_one_token_has_no_perplexity():
    done = harness.run("score", "--model", harness.MODEL, "--input", "-", stdin='{"tokens": [1]}\n')
    score = json.loads(done.stdout)
    assert score["logprobs"] == [] and len(score["top1"]) == 1 and score["perplexity"] is None


@pytest.mark.parametrize("line", ["nonsense", "{}", '{"tokens": [1, -2]}', '{"tokens": [2048]}', '{"tokens": []}',
                                  '{"tokens": [1], "text": "x"}', '{"text": 5}'])
def test_score_refuses_a_bad_line_by_number_before_it_scores(line):
    done = harness.run("score", "--model", harness.MODEL, "--input", "-", stdin=f'{{"tokens": [1, 5]}}\n{line}\n')
    assert done.returncode == 2
    assert done.stdout == ""
    assert "line 2" in done.stderr


def test_check_loads_nothing_and_says_what_it_found():
    done = harness.run("serve", "--model", harness.MODEL, "--ranks", "2", "--check")
    assert done.returncode == 0 and done.stdout.startswith("ok:")


@pytest.mark.parametrize("arguments, part", [
    (["serve", "--model", "/no/such/model", "--check"], "/no/such/model"),
    (["generate", "--model", "/no/such/model", "--prompt", "x"], "/no/such/model"),
    (["serve", "--model", harness.MODEL, "--ranks", "3", "--attention", "tensor-parallel", "--check"], "3"),
    (["serve", "--model", harness.MODEL, "--http", "0.0.0.0:0"], "--allow-unauthenticated"),
    (["serve", "--model", harness.MODEL, "--kv-cache", "plenty"], "--kv-cache"),
    (["generate", "--model", harness.MODEL, "--device", "cuda", "--prompt", "x"], "CUDA"),
])
def test_what_the_user_can_mend_is_refused_with_2(arguments, part):
    done = harness.run(*arguments)
    assert done.returncode == 2, done.stderr
    assert part in done.stderr


def test_doctor_without_a_gpu_is_refused_and_names_the_remedy():
    done = harness.run("doctor", environment={"CUDA_VISIBLE_DEVICES": ""})
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    # Without a CUDA backend, without a driver, without a GPU.
    assert any(remedy in done.stderr for remedy in ["install the CUDA", "install an NVIDIA driver", "nvidia-smi"])


def test_plan_shows_where_the_memory_of_cards_goes_that_are_not_there():
    config = str(harness.SOURCE / "tests/engine/data/mixtral-8x7b/config.json")
    fits = harness.run("plan", "--model", config, "--gpus", "80GiB,80GiB", "--json")
    assert fits.returncode == 0, fits.stderr
    plan = json.loads(fits.stdout)
    assert plan["fits"]
    # Four experts of three matrices in each of 32 layers, two bytes an element.
    assert [rank["experts"] for rank in plan["ranks"]] == [4 * 3 * 4096 * 14336 * 32 * 2] * 2
    lacks = harness.run("plan", "--model", config, "--gpus", "16GiB,16GiB")
    assert lacks.returncode == 2
    assert "needs" in lacks.stderr and "has 16.00 GiB" in lacks.stderr
    assert "--quantize nf4 --attention tensor-parallel" in lacks.stderr


def test_plan_holds_mixtral_with_32k_tokens_on_two_cards_of_16_gib():
    config = str(harness.SOURCE / "tests/engine/data/mixtral-8x7b/config.json")
    cards = ["plan", "--model", config, "--gpus", "16GiB,16GiB"]
    flags = ["--quantize", "nf4", "--attention", "tensor-parallel", "--max-model-len", "32768"]
    fits = harness.run(*cards, *flags, "--json")
    assert fits.returncode == 0, fits.stderr
    plan = json.loads(fits.stdout)
    assert plan["kv_cache"]["longest_sequence"] == 32768
    assert all(rank["total"] <= rank["free"] == 16 << 30 for rank in plan["ranks"])
    smaller = harness.run(*cards, *flags, "--kv-dtype", "fp8", "--json")
    assert json.loads(smaller.stdout)["kv_cache"]["tokens"] > 1.9 * plan["kv_cache"]["tokens"]
    # The same flags are what --fit finds, and its line is one that serve takes.
    chosen = harness.run(*cards, "--fit", "--json")
    assert chosen.returncode == 0, chosen.stderr
    command = json.loads(chosen.stdout)["command"]
    assert command.startswith("switchyard serve --model " + config.removesuffix("/config.json") + " ")
    for flag in ["--quantize nf4", "--attention tensor-parallel", "--max-model-len 32768", "--gpus 0,1"]:
        assert flag in command, command
    table = harness.run(*cards, "--fit")
    assert command in table.stdout and "tokens of KV cache" in table.stdout


def test_plan_gives_the_larger_card_more_experts():
    config = str(harness.SOURCE / "tests/engine/data/mixtral-8x7b/config.json")
    done = harness.run("plan", "--model", config, "--gpus", "80GiB,60GiB", "--json")
    assert done.returncode == 0, done.stderr
    assert [rank["experts_per_layer"] for rank in json.loads(done.stdout)["ranks"]] == [5, 3]


def test_plan_for_cpu_ranks_counts_packed_weights():
    done = harness.run("plan", "--model", str(harness.MODEL), "--device", "cpu", "--ranks", "2", "--json")
    assert done.returncode == 0, done.stderr
    plan = json.loads(done.stdout)
    assert plan["device"] == "cpu"
    # Four of eight experts in each of 4 layers, in bfloat16.
    assert [rank["experts"] for rank in plan["ranks"]] == [4 * 4 * 3 * 256 * 256 * 2] * 2
    assert all(rank["nccl"] == rank["driver"] == rank["graphs"] == rank["reserve"] == 0 for rank in plan["ranks"])


def test_weights_that_stay_unquantised_are_named(tmp_path):
    config = json.loads((harness.MODEL / "config.json").read_text())
    config |= {"num_attention_heads": 8, "num_key_value_heads": 8, "head_dim": 40}
    path = tmp_path / "config.json"
    path.write_text(json.dumps(config))
    flags = ["--device", "cpu", "--ranks", "2", "--attention", "tensor-parallel", "--quantize", "int4"]
    done = harness.run("plan", "--model", str(path), *flags)
    assert done.returncode == 0, done.stderr
    sentence = "'model.layers.0.self_attn.o_proj.weight' and 3 more are held unquantised: a rank's columns, 0 to 160"
    assert f"note: rank 0: {sentence}" in done.stdout
    tokens = ["--prompt-tokens", "1", "--max-tokens", "1"]
    done = harness.run("generate", "--model", str(path), "--load-format", "dummy", *flags, *tokens)
    assert sentence in done.stderr, done.stderr


@pytest.mark.parametrize("recipe", ["nf4", "int4", "int8"])
def test_model_quantised_once_answers_as_one_quantised_while_loading(recipe, tmp_path):
    out = tmp_path / "quantised"
    done = harness.run("quantize", "--model", harness.MODEL, "--out", out, "--format", recipe)
    assert done.returncode == 0, done.stderr
    arguments = ["--prompt", "In the beginning", "--max-tokens", "24", "--temperature", "0", "--ranks", "2"]
    expected = generate("--model", harness.MODEL, "--quantize", recipe, *arguments)
    assert generate("--model", out, *arguments)["tokens"] == expected["tokens"]
    again = harness.run("quantize", "--model", harness.MODEL, "--out", out, "--format", recipe)
    assert again.returncode == 2 and "not an empty directory" in again.stderr
