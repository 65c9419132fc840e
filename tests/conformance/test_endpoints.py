"""The endpoints beside generation, and how errors look."""

import json
import re

import httpx
import pytest

import harness

KNOWN_TEXTS = ["In the beginning", "12 + 7", "  two  spaces", "naïve café", "日本語", "🙂", "line\nbreak", "\ttab", ""]


def test_health_ready_version(server):
    assert server.get("/health").status_code == 200
    assert server.get("/ready").status_code == 200
    assert re.fullmatch(r"\d+\.\d+\.\d+", server.get("/version").json()["version"])


def test_lists_and_retrieves_the_model(client):
    (model,) = client.models.list().data
    assert (model.id, model.object, model.owned_by) == (harness.NAME, "model", "switchyard")
    assert client.models.retrieve(harness.NAME) == model


@pytest.mark.parametrize("text", KNOWN_TEXTS)
def test_tokenize_and_detokenize_are_inverse(post, text):
    ids = post("/tokenize", {"prompt": text, "add_special_tokens": False})["tokens"]
    assert post("/detokenize", {"tokens": ids})["prompt"] == text


def test_tokenize_counts_and_adds_the_beginning(post):
    bare = post("/tokenize", {"prompt": "In the beginning", "add_special_tokens": False})
    full = post("/tokenize", {"prompt": "In the beginning"})
    assert full["count"] == len(full["tokens"]) == bare["count"] + 1
    assert full["tokens"][1:] == bare["tokens"]
    assert full["max_model_len"] >= 1024


def test_tokenize_of_a_chat_is_what_the_chat_endpoint_counts(post, chat):
    messages = [{"role": "user", "content": "What is 12 + 7?"}]
    assert post("/tokenize", {"messages": messages})["count"] == chat(messages, max_tokens=1)["usage"]["prompt_tokens"]


def test_tokenizer_info(server):
    info = server.get("/tokenizer_info").json()
    assert info["bos_token"] and info["eos_token"]


def test_metrics_have_vllms_names(server, complete):
    complete(prompt="hello", max_tokens=2)
    text = server.get("/metrics").text
    for name in ("num_requests_running", "num_requests_waiting", "kv_cache_usage_perc", "prompt_tokens_total",
                 "generation_tokens_total", "request_success_total", "time_to_first_token_seconds_bucket",
                 "inter_token_latency_seconds_sum", "request_time_per_output_token_seconds_count",
                 "e2e_request_latency_seconds_bucket", "request_queue_time_seconds_sum",
                 "request_prefill_time_seconds_sum", "request_decode_time_seconds_sum", "num_preemptions_total",
                 "prefix_cache_queries_total", "prefix_cache_hits_total"):
        assert re.search(rf"^switchyard:{name}[ {{]", text, re.M), name


def test_a_request_id_is_echoed_or_made(server):
    given = server.get("/v1/models", headers={"x-request-id": "mine-17"})
    assert given.headers["x-request-id"] == "mine-17"
    made = [server.get("/v1/models").headers["x-request-id"] for _ in range(2)]
    assert made[0] and made[0] != made[1]


BAD_REQUESTS = [
    ("/v1/completions", "{", None),
    ("/v1/completions", "[]", None),
    ("/v1/completions", {"model": harness.NAME}, "prompt"),
    ("/v1/completions", {"prompt": []}, "prompt"),
    ("/v1/completions", {"prompt": [10 ** 6]}, "prompt[0]"),
    ("/v1/completions", {"prompt": [-1]}, "prompt[0]"),
    ("/v1/completions", '{"prompt": "x", "temperature": NaN}', None),
    ("/v1/completions", {"prompt": "x", "temperature": -1}, "temperature"),
    ("/v1/completions", {"prompt": "x", "temperature": 2.5}, "temperature"),
    ("/v1/completions", {"prompt": "x", "temperature": "hot"}, "temperature"),
    ("/v1/completions", {"prompt": "x", "top_p": 0}, "top_p"),
    ("/v1/completions", {"prompt": "x", "top_p": 1.1}, "top_p"),
    ("/v1/completions", {"prompt": "x", "n": 10 ** 6}, "n"),
    ("/v1/completions", {"prompt": "x", "max_tokens": -5}, "max_tokens"),
    ("/v1/completions", {"prompt": "x", "max_tokens": 2 ** 63}, "max_tokens"),
    ("/v1/completions", {"prompt": "x", "logprobs": 999}, "logprobs"),
    ("/v1/completions", {"prompt": "x", "stop": ["a", "b", "c", "d", "e"]}, "stop"),
    ("/v1/completions", {"prompt": "x", "logit_bias": {"9999999": 1}}, "logit_bias"),
    ("/v1/completions", {"prompt": "x", "presence_penalty": 3}, "presence_penalty"),
    ("/v1/completions", {"prompt": "x", "frequency_penalty": -3}, "frequency_penalty"),
    ("/v1/completions", {"prompt": "x", "seed": "one"}, "seed"),
    ("/v1/completions", {"prompt": "x", "stream": "yes"}, "stream"),
    ("/v1/chat/completions", {"model": harness.NAME}, "messages"),
    ("/v1/chat/completions", {"messages": []}, "messages"),
    ("/v1/chat/completions", {"messages": [{"role": "robot", "content": "x"}]}, "messages[0].role"),
    ("/v1/chat/completions", {"messages": [{"role": "user", "content": 3}]}, "messages[0].content"),
    ("/v1/chat/completions", {"messages": [{"role": "user", "content": "x"}], "top_logprobs": 3}, "top_logprobs"),
    ("/tokenize", {}, None),
    ("/detokenize", {"tokens": [10 ** 6]}, None),
]


@pytest.mark.parametrize("path, body, param", BAD_REQUESTS, ids=lambda value: str(value)[:48])
def test_a_bad_value_is_a_400_that_names_it(post, path, body, param):
    error = post(path, body, expected=400)["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["message"] and error["type"] == "invalid_request_error"
    if param is not None:
        assert error["param"] == param
        assert param.split("[")[0] in error["message"]


def test_an_unknown_model_is_a_404(post):
    error = post("/v1/completions", {"model": "gpt-17", "prompt": "x"}, expected=404)["error"]
    assert error["code"] == "model_not_found" and "gpt-17" in error["message"]


def test_unknown_paths_and_methods(server):
    assert server.get("/v1/nothing").status_code == 404
    refused = httpx.delete(server.url + "/v1/models", timeout=harness.PATIENCE)
    assert refused.status_code == 405 and "GET" in refused.headers["allow"]
    assert "error" in refused.json()


def test_a_prompt_over_the_context_gives_both_numbers(post):
    error = post("/v1/completions", {"prompt": [5] * 5000, "max_tokens": 1}, expected=400)["error"]
    assert error["code"] == "context_length_exceeded"
    limit, asked = 4096, 5001
    assert str(limit) in error["message"] and str(asked) in error["message"]


@pytest.mark.parametrize("fields", [{"store": True}, {"metadata": {"a": "b"}}, {"service_tier": "auto"},
                                    {"prompt_cache_key": "k"}, {"verbosity": "low"}, {"user": "u"},
                                    {"surprise": [1, {"a": None}]}], ids=str)
def test_fields_without_effect_are_accepted(chat, fields):
    assert chat(max_tokens=4, **fields) ["choices"][0]["message"]["content"] == \
        chat(max_tokens=4)["choices"][0]["message"]["content"]


@pytest.mark.parametrize("field", ["temperature", "top_p", "n", "max_tokens", "stop", "seed", "logprobs", "stream",
                                   "logit_bias", "user", "presence_penalty", "frequency_penalty"])
def test_null_is_as_absent(complete, field):
    fields = {"prompt": "In the beginning", "max_tokens": 3, "temperature": 0}
    assert len(complete(**{**fields, field: None})["choices"]) == 1


def test_deep_json_is_refused_and_the_server_lives(server, post):
    reply = httpx.post(server.url + "/v1/completions", content="[" * 200_000, timeout=harness.PATIENCE)
    assert reply.status_code == 400
    nested = "{\"prompt\":\"x\",\"metadata\":" + "{\"a\":" * 5000 + "1" + "}" * 5000 + "}"
    assert httpx.post(server.url + "/v1/completions", content=nested, timeout=harness.PATIENCE).status_code in (200, 400)
    assert server.get("/health").status_code == 200
    json.loads(server.get("/v1/models").text)
