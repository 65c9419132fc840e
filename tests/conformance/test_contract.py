"""What is left of API.md's sentences: fields, streams, keys, metrics, and the gRPC service beside HTTP. COVERAGE.md says
where each sentence is checked."""

import re

import grpc
import httpx
import pytest
from switchyard.v1 import generation_pb2 as pb

import harness

PROMPT = "In the beginning"
QUESTION = [{"role": "user", "content": "What is 12 + 7?"}]

# Every field that API.md names, each with a value that asks for something where it can; those that exclude each other
# are split over two requests.
SHARED = {"n": 1, "stop": ["zzzz"], "seed": 1, "temperature": 0.5, "top_p": 0.9, "presence_penalty": 0.1,
          "frequency_penalty": 0.1, "logit_bias": {"5": -1}, "user": "u", "top_k": 40, "min_p": 0.01,
          "repetition_penalty": 1.1, "min_tokens": 1, "ignore_eos": False, "stop_token_ids": [2000],
          "include_stop_str_in_output": True, "skip_special_tokens": False, "bad_words": ["xyzzy"],
          "truncate_prompt_tokens": 64, "priority": 1, "cache_salt": "s", "request_id": "mine", "return_token_ids": True,
          "store": False, "metadata": {"a": "b"}, "service_tier": "auto", "prompt_cache_key": "k", "verbosity": "low"}
COMPLETION = {**SHARED, "prompt": PROMPT, "echo": False, "logprobs": 1, "max_tokens": 4, "best_of": 1, "suffix": "",
              "add_special_tokens": True, "prompt_logprobs": 1}
CHAT = {**SHARED, "messages": QUESTION, "max_completion_tokens": 4, "logprobs": True, "top_logprobs": 2,
        "response_format": {"type": "text"}, "add_generation_prompt": True, "continue_final_message": False,
        "tools": [{"type": "function", "function": {"name": "now"}}], "tool_choice": "none", "parallel_tool_calls": True}


@pytest.mark.parametrize("path, body", [
    ("/v1/completions", COMPLETION), ("/v1/chat/completions", CHAT),
    ("/v1/completions", {**COMPLETION, "bad_words": [], "allowed_token_ids": list(range(3, 2000)), "stream": False}),
    ("/v1/chat/completions", {"messages": QUESTION, "max_tokens": 4, "stream": False})],
    ids=["completion", "chat", "completion with allowed ids", "chat with max_tokens"])
def test_every_field_is_known(server, path, body):
    reply = httpx.post(server.url + path, json=body, headers={"x-request-id": f"known{len(body)}"},
                       timeout=harness.PATIENCE)
    assert reply.status_code == 200, reply.text
    assert not [line for line in server.log().splitlines() if f"known{len(body)}" in line and "(unknown)" in line]


def test_an_unknown_field_is_a_line_in_the_log(server, complete):
    reply = httpx.post(server.url + "/v1/completions", json={"prompt": PROMPT, "max_tokens": 1, "sUrprise": {"a": [1]}},
                       headers={"x-request-id": "with-surprise"}, timeout=harness.PATIENCE)
    assert reply.status_code == 200
    harness.wait_until(lambda: re.search(r"with-surprise.*sUrprise \(unknown\)", server.log()), "the field is in the log")


def test_suffix_is_refused_by_name(post):
    error = post("/v1/completions", {"prompt": PROMPT, "suffix": "end"}, expected=400)["error"]
    assert error["param"] == "suffix" and error["code"] == "unsupported_parameter"


# Streams

@pytest.mark.parametrize("path, body, whole, piece", [
    ("/v1/completions", {"prompt": PROMPT}, "text_completion", "text_completion"),
    ("/v1/chat/completions", {"messages": QUESTION}, "chat.completion", "chat.completion.chunk")], ids=["text", "chat"])
def test_object_names_and_what_is_constant_in_a_stream(post, events, path, body, whole, piece):
    assert post(path, {**body, "max_tokens": 3})["object"] == whole
    chunks = events(path, {**body, "max_tokens": 3})
    assert {chunk["object"] for chunk in chunks} == {piece}
    assert len({(chunk["id"], chunk["created"], chunk["model"]) for chunk in chunks}) == 1
    assert [chunk["choices"][0]["finish_reason"] for chunk in chunks][-1] in ("length", "stop")
    assert not any(chunk.get("usage") for chunk in chunks)  # only with stream_options


def test_a_stream_and_an_error_carry_the_request_id(server):
    for body, status in (({"prompt": PROMPT, "stream": True, "max_tokens": 1}, 200), ({"prompt": 7}, 400)):
        reply = httpx.post(server.url + "/v1/completions", json=body, headers={"x-request-id": "mine-18"},
                           timeout=harness.PATIENCE)
        assert (reply.status_code, reply.headers["x-request-id"]) == (status, "mine-18")


def test_echoed_scores_of_a_batch_are_those_of_each_alone(complete):
    prompts = [PROMPT, "To be, or not to be", "12 + 7 ="]
    fields = {"max_tokens": 0, "echo": True, "logprobs": 2}
    together = complete(prompt=prompts, **fields)["choices"]
    for prompt, choice in zip(prompts, together):
        assert choice["logprobs"] == complete(prompt=prompt, **fields)["choices"][0]["logprobs"]


# Keys

@pytest.fixture(scope="module")
def guarded(tmp_path_factory):
    directory = tmp_path_factory.mktemp("guarded")
    (directory / "keys").write_text("first:secret-one\nsecond:secret-two\n")
    with harness.Server(directory, "--api-key-file", directory / "keys") as running:
        yield running


@pytest.mark.parametrize("method, path", [
    ("POST", "/v1/completions"), ("POST", "/v1/chat/completions"), ("GET", "/v1/models"), ("POST", "/tokenize"),
    ("GET", f"/v1/models/{harness.NAME}"), ("POST", "/detokenize"), ("GET", "/tokenizer_info"), ("GET", "/ready"),
    ("GET", "/metrics"), ("GET", "/version"), ("GET", "/v1/experts"), ("GET", "/nothing")], ids=lambda value: value)
def test_everything_needs_a_key(guarded, method, path):
    for header in ({}, {"Authorization": "Bearer secret-three"}, {"Authorization": "secret-one"},
                   {"Authorization": "Basic secret-one"}, {"Authorization": "Bearer secret-one-more"}):
        reply = httpx.request(method, guarded.url + path, headers=header, content="{}" if method == "POST" else None,
                              timeout=harness.PATIENCE)
        assert reply.status_code == 401, header
        assert reply.headers["www-authenticate"] == "Bearer"
        assert reply.json()["error"]["type"] == "authentication_error"
    for key in ("secret-one", "secret-two"):
        reply = httpx.request(method, guarded.url + path, headers={"Authorization": f"Bearer {key}"},
                              content="{}" if method == "POST" else None, timeout=harness.PATIENCE)
        assert reply.status_code != 401


def test_health_needs_no_key(guarded):
    assert guarded.get("/health").status_code == 200


@pytest.mark.parametrize("flag", ["--http", "--grpc"])
def test_an_open_address_without_keys_is_refused(flag):
    refused = harness.run("serve", "--model", harness.MODEL, flag, "0.0.0.0:0")
    assert refused.returncode == 2
    assert flag in refused.stderr and "--allow-unauthenticated" in refused.stderr


# Statistics

def test_experts_are_counted(server, complete):
    complete(prompt=PROMPT, max_tokens=4)
    statistics = server.get("/v1/experts").json()
    assert len(statistics["layers"]) == 4
    assert all(len(layer["expert_tokens"]) == 8 and sum(layer["expert_tokens"]) > 0 for layer in statistics["layers"])
    assert all(layer["rank_load_max_over_mean"] >= 1 for layer in statistics["layers"])


@pytest.mark.parametrize("name, label", [
    ("moe_rank_load_max_over_mean", "layer"), ("moe_dead_experts", None), ("moe_routing_entropy", "layer"),
    ("moe_dispatch_seconds", None), ("moe_expert_seconds", None), ("moe_combine_seconds", None),
    ("moe_straggler_wait_seconds", "rank"), ("exchange_bytes_total", "strategy")], ids=lambda value: str(value))
def test_our_own_metrics(server, complete, name, label):
    complete(prompt=PROMPT, max_tokens=4)
    series = re.findall(rf"^switchyard:{name}(?:_total|_sum)?(?:{{(.*)}})? ", server.get("/metrics").text, re.M)
    assert series
    assert label is None or all(f'{label}="' in labels for labels in series)


def test_finished_requests_are_counted_by_reason(server, complete):
    complete(prompt=PROMPT, max_tokens=1)
    assert re.search(r'^switchyard:request_success_total{.*finished_reason="length".*} [1-9]', server.get("/metrics").text,
                     re.M)


# gRPC beside HTTP

def generate(server, **fields):
    merged = pb.GenerateResponse()
    request = pb.GenerateRequest(sampling=pb.SamplingParams(temperature=0), **fields)
    for response in server.stub.Generate(request, timeout=harness.PATIENCE):
        text = merged.text + response.text
        merged.MergeFrom(response)
        merged.text = text
    return merged


@pytest.mark.parametrize("text", [PROMPT, "<s>[INST] What is 12 + 7? [/INST]", "naïve </s> café"])
def test_both_fronts_read_a_prompt_alike(server, post, text):
    by_grpc = server.stub.Tokenize(pb.TokenizeRequest(text=text)).token_ids
    assert list(by_grpc) == post("/tokenize", {"prompt": text})["tokens"]


def test_both_fronts_give_the_same_tokens_scores_and_experts(server, complete):
    by_http = complete(prompt=PROMPT, max_tokens=6, logprobs=2, return_token_ids=True, return_expert_ids=True)
    by_grpc = generate(server, text=PROMPT, stop=pb.StopParams(max_tokens=6), num_logprobs=2, return_expert_ids=True)
    (choice,) = by_http["choices"]
    assert choice["text"] == by_grpc.text and choice["token_ids"] == list(by_grpc.token_ids)
    for score, entry in zip(choice["logprobs"]["token_logprobs"], by_grpc.logprobs):
        assert abs(score - entry.logprob) < 1e-5
    by_token = [[expert for layer in token for expert in layer] for token in choice["expert_ids"]]
    assert by_token == [list(token.ids) for token in by_grpc.expert_ids]
    assert len(by_token) == 6 and all(len(token) == 4 * 2 for token in by_token)


def test_both_fronts_truncate_alike(server, complete):
    by_http = complete(prompt=PROMPT + " God created", max_tokens=4, truncate_prompt_tokens=3)
    by_grpc = generate(server, text=PROMPT + " God created", truncate_prompt_tokens=3, stop=pb.StopParams(max_tokens=4))
    assert by_http["choices"][0]["text"] == by_grpc.text
    assert by_http["usage"]["prompt_tokens"] == by_grpc.usage.prompt_tokens == 3


def test_usage_and_times_come_with_the_end(server):
    answer = generate(server, text=PROMPT, stop=pb.StopParams(max_tokens=8, ignore_eos=True))
    assert answer.usage.completion_tokens == 8 and answer.usage.prompt_tokens > 1
    times = answer.finish.timings
    assert times.queue_us >= 0 and times.prefill_us > 0 and times.decode_us > 0


@pytest.mark.parametrize("fields, part", [
    ({"text": ""}, "`text` is empty"), ({"chat": pb.Chat(continue_final_message=True)}, "`messages` is empty"),
    ({"text": PROMPT, "stop": pb.StopParams(max_tokens=5000)}, "4096"),
    ({"tokens": pb.TokenIds(ids=[5] * 5000)}, "5000"), ({}, "`prompt` is missing"),
    ({"tokens": pb.TokenIds(ids=[-1])}, "-1")], ids=lambda value: str(value)[:32])
def test_a_bad_prompt_is_an_invalid_argument(server, fields, part):
    with pytest.raises(grpc.RpcError) as refused:
        generate(server, **fields)
    assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert part in refused.value.details()


def services_of(server):
    """What reflection lists. Its messages are written by hand: field 7 of the request is list_services."""
    call = server.channel.stream_stream("/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo")
    return b"".join(call(iter([b"\x3a\x00"]), timeout=harness.PATIENCE))


def test_reflection_is_off_unless_asked_for(server, tmp_path):
    with pytest.raises(grpc.RpcError) as refused:
        services_of(server)
    assert refused.value.code() == grpc.StatusCode.UNIMPLEMENTED
    with harness.Server(tmp_path, "--grpc-reflection") as reflecting:
        listed = services_of(reflecting)
    assert b"switchyard.v1.Generation" in listed and b"grpc.health.v1.Health" in listed
