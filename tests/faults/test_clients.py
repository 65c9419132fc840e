"""Clients that vanish, stall, or come in crowds."""

import concurrent.futures
import socket
import time

import grpc
import httpx
import pytest
from switchyard.v1 import generation_pb2

import faults
import harness

LONG_PROMPT = [5] * 3000


def start_and_vanish(server, wait, **fields):
    # A salt of its own: a long prompt that somebody has sent before would be no long prefill.
    body = faults.body_of(**fields, cache_salt=str(time.monotonic_ns()))
    with faults.connect(server) as connection:
        connection.sendall(faults.post_head("/v1/completions", f"Content-Length: {len(body)}") + body)
        time.sleep(wait)
        # A reset, as of a machine that lost its power, not a goodbye.
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("wait", [0.0, 0.05, 0.5])
def test_clients_vanish_in_prefill_and_decode(attacked, stream, wait):
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: start_and_vanish(attacked, wait, prompt=LONG_PROMPT, max_tokens=1000, stream=stream,
                                                 ignore_eos=True), range(16)))
    harness.wait_until(lambda: attacked.metric("switchyard:num_requests_waiting") == 0, "nothing waits")


def test_a_grpc_client_vanishes(attacked):
    calls = [attacked.stub.Generate(generation_pb2.GenerateRequest(
        text="In the beginning", stop=generation_pb2.StopParams(max_tokens=3000, ignore_eos=True))) for _ in range(8)]
    for call in calls:
        next(call)
        call.cancel()


def test_readers_that_stall_are_dropped(attacked):
    """Streams nobody reads: their buffers fill, then they are aborted, and their pages come back. Of each there is more
    than the kernel holds for a connection, so that none comes to its end unread, however fast it is generated."""
    connections = []
    for _ in range(4):
        connection = socket.socket()
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        connection.connect(tuple(attacked.url.removeprefix("http://").split(":"))[:1] + (int(attacked.url.rsplit(":", 1)[1]),))
        body = faults.body_of(max_tokens=10_000, stream=True, ignore_eos=True, logprobs=20, n=2)
        connection.sendall(faults.post_head("/v1/completions", f"Content-Length: {len(body)}") + body)
        connections.append(connection)
    for connection in connections:
        assert connection.recv(1, socket.MSG_PEEK), "the stream has begun"
    harness.wait_until(lambda: faults.num_held(attacked, connections) == 0, "the streams are dropped")
    for connection in connections:
        status, text = faults.reply_of(connection)
        assert status == 200 and "data: {" in text and "[DONE]" not in text
        connection.close()


def test_a_slow_reader_gets_everything(attacked):
    body = faults.body_of(max_tokens=200, stream=True, ignore_eos=True)
    with faults.connect(attacked) as connection:
        connection.sendall(faults.post_head("/v1/completions", f"Content-Length: {len(body)}", "Connection: close") + body)
        text = b""
        while piece := connection.recv(2000):
            text += piece
            time.sleep(0.01)
    assert b"[DONE]" in text


def test_ten_times_the_load(attacked):
    """Far more than runs and waits: the rest is told so at once, with the time to come again."""
    def one(index):
        begin = time.monotonic()
        reply = faults.complete(attacked, f"number {index}", max_tokens=32)
        return reply.status_code, time.monotonic() - begin, reply.headers.get("retry-after")

    with concurrent.futures.ThreadPoolExecutor(300) as pool:
        results = list(pool.map(one, range(600)))
    codes = [code for code, _, _ in results]
    assert set(codes) <= {200, 429} and codes.count(200) >= 64
    assert all(retry is not None and int(retry) >= 1 for code, _, retry in results if code == 429)


def test_ten_times_the_load_over_grpc(attacked):
    def one(index):
        try:
            list(attacked.stub.Generate(generation_pb2.GenerateRequest(
                text=f"number {index}", stop=generation_pb2.StopParams(max_tokens=32)), timeout=harness.PATIENCE))
            return grpc.StatusCode.OK
        except grpc.RpcError as error:
            return error.code()

    with concurrent.futures.ThreadPoolExecutor(100) as pool:
        codes = list(pool.map(one, range(300)))
    assert set(codes) <= {grpc.StatusCode.OK, grpc.StatusCode.RESOURCE_EXHAUSTED}
    assert codes.count(grpc.StatusCode.OK) >= 50


def test_a_deadline_ends_the_request(attacked):
    with pytest.raises(grpc.RpcError) as ended:
        list(attacked.stub.Generate(generation_pb2.GenerateRequest(
            text="In the beginning", stop=generation_pb2.StopParams(max_tokens=faults.LONG_ANSWER, ignore_eos=True)),
            timeout=0.5))
    assert ended.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED


def test_a_giant_grpc_message_and_giant_metadata(attacked):
    channel = grpc.insecure_channel(attacked.grpc_address, options=[("grpc.max_send_message_length", -1)])
    from switchyard.v1 import generation_pb2_grpc
    stub = generation_pb2_grpc.GenerationStub(channel)
    with pytest.raises(grpc.RpcError) as refused:
        list(stub.Generate(generation_pb2.GenerateRequest(text="a" * (64 << 20))))
    assert refused.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    with pytest.raises(grpc.RpcError) as refused:
        list(stub.Generate(generation_pb2.GenerateRequest(text="a"), metadata=[("x", "a" * (1 << 20))]))
    assert refused.value.code() in (grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.INTERNAL, grpc.StatusCode.UNAVAILABLE)
    channel.close()


def nested_schema(depth):
    schema = {}
    for _ in range(depth):
        schema = {"type": "array", "items": schema}
    return schema


def schema_format(schema):
    return {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}}


# Fields of a chat request.
BOMBS = [
    {"chat_template": "{% for a in range(999999999) %}{% for b in range(999999999) %}x{% endfor %}{% endfor %}"},
    schema_format(nested_schema(500)),
    schema_format({"type": "string", "pattern": "(((a{1,500}){1,500}){1,500}){1,500}"}),
    schema_format({"enum": [f"value {index}" * 20 for index in range(50_000)]}),
]


def throw_bomb(server, bomb):
    """A chat request with the bomb's fields, which is refused."""
    body = {"messages": [{"role": "user", "content": "x"}], "max_tokens": 4, **bomb}
    reply = httpx.post(server.url + "/v1/chat/completions", json=body, timeout=harness.PATIENCE)
    assert reply.status_code in (400, 413), reply.text


def test_template_and_grammar_bombs(attacked):
    for bomb in BOMBS:
        begin = time.monotonic()
        throw_bomb(attacked, bomb)
        assert time.monotonic() - begin < harness.PATIENCE / 2


def test_memory_of_bombs_goes_back_to_the_system(tmp_path):
    with harness.Server(tmp_path, "--kv-cache", "32MiB") as server:
        faults.warm_up(server)
        before = faults.resident_bytes(server.process.pid)
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda bomb: throw_bomb(server, bomb), BOMBS * 4))
        harness.wait_until(lambda: faults.resident_bytes(server.process.pid) < before + 48 * 2**20,
                           f"no more than 48 MiB over {before / 2**20:.0f} are resident")
