"""A Python client generated from the proto against the gRPC front end."""

import queue

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from switchyard.v1 import generation_pb2 as pb

import harness


def request_for(text=None, chat=None, tokens=None, max_tokens=32, **fields):
    request = pb.GenerateRequest(stop=pb.StopParams(max_tokens=max_tokens), sampling=pb.SamplingParams(temperature=0),
                                 **fields)
    if text is not None:
        request.text = text
    if chat is not None:
        request.chat.messages.add(role="user", content=chat)
    if tokens is not None:
        request.tokens.ids.extend(tokens)
    return request


def endless(**fields):
    """For a server of the long model."""
    request = request_for(text="In the beginning", max_tokens=harness.ENDLESS_TOKENS, **fields)
    request.stop.ignore_eos = True
    return request


def merge(responses):
    merged = pb.GenerateResponse()
    for response in responses:
        text = merged.text + response.text
        merged.MergeFrom(response)
        merged.text = text
    return merged


def code_of(call):
    with pytest.raises(grpc.RpcError) as error:
        list(call)
    return error.value.code()


def idle(server):
    load = server.stub.GetLoad(pb.GetLoadRequest())
    return load.num_requests_running == 0 and load.num_requests_waiting == 0 and load.kv_pages_used == 0


def test_chats_are_golden(server, golden):
    for expected in golden["chats"]:
        by_chat = merge(server.stub.Generate(request_for(chat=expected["user"])))
        by_tokens = merge(server.stub.Generate(request_for(tokens=expected["prompt_tokens"])))
        assert list(by_chat.token_ids) == list(by_tokens.token_ids) == expected["answer_tokens"]
        assert by_chat.text.strip() == expected["answer"].strip()
        assert by_chat.finish.reason == pb.FINISH_REASON_STOP
        assert by_chat.finish.stop_token_id == 2
        assert by_chat.usage.prompt_tokens == len(expected["prompt_tokens"])
        assert by_chat.finish.timings.prefill_us > 0


def test_a_prompt_that_was_there_before_is_cached(server):
    tokens = [7 + i % 40 for i in range(53)]
    answers = [merge(server.stub.Generate(request_for(tokens=tokens, max_tokens=4, cache_salt=salt)))
               for salt in ("", "", "mine", "mine")]
    assert [answer.usage.cached_tokens for answer in answers] == [0, 48, 0, 48]
    assert all(answer.token_ids == answers[0].token_ids for answer in answers)


def test_prompt_log_probabilities_are_golden(server, golden):
    for expected in golden["sequences"]:
        request = request_for(tokens=expected["tokens"], max_tokens=1, num_prompt_logprobs=0, num_logprobs=3)
        answer = merge(server.stub.Generate(request))
        entries = [entry.logprob for entry in answer.prompt_logprobs.entries]
        assert entries == pytest.approx(expected["logprobs"], abs=1e-3)
        assert list(answer.prompt_logprobs.top1) == expected["top1"]
        assert answer.token_ids[0] == expected["top1"][-1] == answer.logprobs[0].top[0].token_id
        assert len(answer.logprobs[0].top) == 3


def test_scores_without_generating(server, golden):
    expected = golden["sequences"][1]
    answer = merge(server.stub.Generate(request_for(tokens=expected["tokens"], max_tokens=0, num_prompt_logprobs=0)))
    assert list(answer.token_ids) == []
    assert list(answer.prompt_logprobs.top1) == expected["top1"]


def test_batch_answers_every_request_and_tags_errors(server, golden):
    requests = [request_for(chat=chat["user"], request_id=f"chat {i}") for i, chat in enumerate(golden["chats"])]
    requests.insert(2, request_for(tokens=[10**6], request_id="bad"))
    answers = {}
    for response in server.stub.GenerateBatch(iter(requests)):
        answers.setdefault(response.request_id, []).append(response)
    assert answers.keys() == {request.request_id for request in requests}
    for i, chat in enumerate(golden["chats"]):
        answer = merge(answers[f"chat {i}"])
        assert list(answer.token_ids) == chat["answer_tokens"]
        assert answer.HasField("status") and answer.status.code == 0
    assert merge(answers["bad"]).status.code == grpc.StatusCode.INVALID_ARGUMENT.value[0]
    assert "1000000" in merge(answers["bad"]).status.message


def test_batch_answers_while_the_client_still_asks(server):
    requests = queue.Queue()
    stream = server.stub.GenerateBatch(iter(requests.get, None))
    for i in range(3):
        requests.put(request_for(chat="What is 12 + 7?", request_id=str(i)))
        responses = []
        while not responses or not responses[-1].HasField("status"):
            responses.append(next(stream))
        assert "19" in merge(responses).text
    requests.put(None)
    assert list(stream) == []


def test_abort_ends_another_calls_request(long_server):
    stream = long_server.stub.Generate(endless(request_id="to be aborted"))
    next(stream)
    long_server.stub.Abort(pb.AbortRequest(request_id="to be aborted"))
    assert code_of(stream) == grpc.StatusCode.CANCELLED
    harness.wait_until(lambda: idle(long_server), "all pages are back")


def test_cancellation_frees_the_pages(long_server):
    stream = long_server.stub.Generate(endless())
    next(stream)
    assert long_server.stub.GetLoad(pb.GetLoadRequest()).kv_pages_used > 0
    stream.cancel()
    harness.wait_until(lambda: idle(long_server), "all pages are back")


def test_deadline_ends_the_request(long_server):
    assert code_of(long_server.stub.Generate(endless(), timeout=0.3)) == grpc.StatusCode.DEADLINE_EXCEEDED
    harness.wait_until(lambda: idle(long_server), "all pages are back")


@pytest.mark.parametrize("request_, part", [
    (pb.GenerateRequest(), "prompt"),
    (request_for(tokens=[2048]), "2048"),
    (request_for(tokens=[1] * 4097), "4096"),
    (request_for(text="x", num_logprobs=10**6), "logprobs"),
    (pb.GenerateRequest(text="x", sampling=pb.SamplingParams(temperature=float("nan"))), "temperature"),
    (pb.GenerateRequest(text="x", sampling=pb.SamplingParams(top_p=0)), "top_p"),
    (pb.GenerateRequest(text="x", stop=pb.StopParams(max_tokens=-1)), "max_tokens"),
])
def test_a_bad_value_is_an_invalid_argument_that_names_it(server, request_, part):
    with pytest.raises(grpc.RpcError) as error:
        list(server.stub.Generate(request_))
    assert error.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert part in error.value.details()


def test_another_model_is_not_found(server):
    assert code_of(server.stub.Generate(request_for(text="x", model="gpt-4"))) == grpc.StatusCode.NOT_FOUND


def test_describes_the_model(server):
    info = server.stub.GetModelInfo(pb.GetModelInfoRequest())
    assert (info.model, info.model_type, info.num_experts, info.experts_per_token) == (harness.NAME, "mixtral", 8, 2)
    assert (info.world_size, info.max_model_len, info.vocab_size) == (2, 4096, 2048)
    assert info.has_tokenizer and info.has_chat_template


def test_tokenizes_as_the_golden_file(server, golden):
    for sequence in golden["sequences"]:
        ids = server.stub.Tokenize(pb.TokenizeRequest(text=sequence["text"])).token_ids
        assert list(ids) == sequence["tokens"]
        assert server.stub.Detokenize(pb.DetokenizeRequest(token_ids=ids)).text == sequence["text"]


def test_counts_where_tokens_were_routed(server):
    list(server.stub.Generate(request_for(text="In the beginning", max_tokens=4)))
    layers = server.stub.GetExpertLoad(pb.GetExpertLoadRequest()).layers
    assert len(layers) == 4
    assert all(len(layer.expert_tokens) == 8 and sum(layer.expert_tokens) > 0 for layer in layers)
    assert all(layer.rank_load_max_over_mean >= 1 for layer in layers)


def test_health_is_serving(server):
    health = health_pb2_grpc.HealthStub(server.channel)
    for service in ("", "switchyard.v1.Generation"):
        status = health.Check(health_pb2.HealthCheckRequest(service=service)).status
        assert status == health_pb2.HealthCheckResponse.SERVING


def test_keys_are_asked_for_but_not_by_health(tmp_path):
    with harness.Server(tmp_path, "--api-key", "secret") as server:
        assert code_of(server.stub.Generate(request_for(text="x"))) == grpc.StatusCode.UNAUTHENTICATED
        metadata = [("authorization", "Bearer secret")]
        assert "19" in merge(server.stub.Generate(request_for(chat="What is 12 + 7?"), metadata=metadata)).text
        health = health_pb2_grpc.HealthStub(server.channel)
        assert health.Check(health_pb2.HealthCheckRequest()).status == health_pb2.HealthCheckResponse.SERVING
