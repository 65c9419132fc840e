"""What a soak does to a server: every family of attack and fault that leaves the process standing, and plain work.

Each is called with the server and a source of chance, and asserts what the server owes it. The server serves a model with
`POISONED_TOKEN` (poisoned_model), ends headers after 15 s, and its access log is on a disk that is full.
"""

import concurrent.futures
import contextlib
import random
import resource
import signal
import threading
import time

import grpc
import httpx
from switchyard.v1 import generation_pb2

import faults
import harness
from test_clients import BOMBS, start_and_vanish, throw_bomb
from test_http_attacks import DEEP, OUT_OF_RANGE

POISONED_TOKEN = 1234
NOT_DRAWN = {str(POISONED_TOKEN): -100}  # logit_bias of what is sampled: such an answer would fail in its next step


def post(server, path, **arguments):
    return httpx.post(server.url + path, timeout=harness.PATIENCE, **arguments)


def expect(reply, *codes):
    assert reply.status_code in codes, f"{reply.status_code} instead of {codes}: {reply.text[:300]}"
    assert reply.status_code != 429 or int(reply.headers["retry-after"]) >= 1


def random_prompt(dice, most):
    return [dice.randrange(3, POISONED_TOKEN) for _ in range(dice.randrange(1, most))]


def long_prompts(server, dice):
    expect(faults.complete(server, random_prompt(dice, 1500)), 200, 429)


def several_sampled_answers(server, dice):
    expect(faults.complete(server, dice.choice(faults.PROMPTS), n=4, temperature=1, logprobs=5, max_tokens=40,
                           logit_bias=NOT_DRAWN), 200, 429)


def scores_of_a_prompt(server, dice):
    expect(faults.complete(server, random_prompt(dice, 300), echo=True, logprobs=1, max_tokens=1), 200, 429)


def constrained_answers(server, dice):
    expect(post(server, "/v1/chat/completions", json={
        "messages": [{"role": "user", "content": "What is 12 + 7?"}], "max_tokens": 60,
        "response_format": {"type": "json_schema", "json_schema": {"name": "sum", "schema": {
            "type": "object", "properties": {f"value{dice.randrange(50)}": {"type": "integer"}}}}}}), 200, 429)


def streams_that_are_left(server, dice):
    with httpx.stream("POST", server.url + "/v1/chat/completions", timeout=harness.PATIENCE, json={
            "messages": [{"role": "user", "content": "What is 12 + 7?"}], "stream": True, "max_tokens": 30,
            "logit_bias": NOT_DRAWN}) as reply:
        assert reply.status_code in (200, 429)
        last = dice.randrange(1, 60)
        for index, _ in enumerate(reply.iter_lines()):
            if index == last:
                break


def clients_that_vanish(server, dice):
    start_and_vanish(server, dice.random() * 0.3, prompt=random_prompt(dice, 3000), max_tokens=500,
                     stream=dice.random() < 0.5)


def grpc_calls_that_end_early(server, dice):
    call = server.stub.Generate(generation_pb2.GenerateRequest(
        text="In the beginning", sampling=generation_pb2.SamplingParams(temperature=0),
        stop=generation_pb2.StopParams(max_tokens=3000, ignore_eos=True)), timeout=dice.uniform(0.05, 0.5))
    try:
        for index, _ in enumerate(call):
            if index == 20:
                call.cancel()
    except grpc.RpcError as error:
        assert error.code() in (grpc.StatusCode.CANCELLED, grpc.StatusCode.DEADLINE_EXCEEDED,
                                grpc.StatusCode.RESOURCE_EXHAUSTED), error


def readers_that_stall(server, dice):
    body = faults.body_of(max_tokens=1000, stream=True, ignore_eos=True, logprobs=20)
    with faults.connect(server) as connection:
        connection.sendall(faults.post_head("/v1/completions", f"Content-Length: {len(body)}") + body)
        time.sleep(dice.uniform(0.5, 2))


def slow_senders(server, dice):
    with faults.connect(server) as connection:
        connection.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Le")
        if dice.random() < 0.2:  # some wait for what they get
            assert faults.reply_of(connection)[0] in (408, None)


def giants_and_garbage(server, dice):
    data = dice.choice([
        b"GET /health HTTP/1.1\r\nHost: x\r\nX-Giant: " + b"a" * 2**20 + b"\r\n\r\n",
        b"GET /" + b"a" * 2**20 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        faults.post_head("/v1/completions", f"Content-Length: {2**40}"),
        faults.post_head("/v1/completions", "Content-Length: 5", "Transfer-Encoding: chunked") + b"0\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00" + dice.randbytes(500) + b"\r\n\r\n",
    ])
    with faults.connect(server) as connection:
        faults.send_ignoring_refusal(connection, data)
        with contextlib.suppress(OSError):
            connection.shutdown(1)
        status, _ = faults.reply_of(connection)
        assert status is None or 400 <= status < 500, status


def bodies_of_garbage(server, dice):
    expect(post(server, "/v1/completions", content=dice.randbytes(dice.randrange(2000))), 400)


def deep_json(server, dice):
    expect(post(server, "/v1/chat/completions", content=dice.choice(DEEP)), 400)


def numbers_out_of_their_range(server, dice):
    field, value = dice.choice([entry for entry in OUT_OF_RANGE if entry[0] != "prompt"])
    expect(post(server, "/v1/completions", content=f'{{"prompt":"x","{field}":{value}}}'), 400)


def bombs(server, dice):
    throw_bomb(server, dice.choice(BOMBS))


def crowds(server, dice):
    with concurrent.futures.ThreadPoolExecutor(60) as pool:
        for reply in pool.map(lambda _: faults.complete(server, dice.choice(faults.PROMPTS)), range(60)):
            expect(reply, 200, 429)


def numbers_that_are_none(server, dice):
    expect(faults.complete(server, [5, POISONED_TOKEN, 7 + dice.randrange(100)]), 500, 429)


def signals(server, _):
    server.signal(signal.SIGHUP)  # the access log is opened again


def stopped_process(server, dice):
    server.signal(signal.SIGSTOP)
    time.sleep(dice.uniform(0.1, 0.5))
    server.signal(signal.SIGCONT)


LIMITING = threading.Lock()  # one at a time: each puts back the limit that it found


def no_file_descriptors(server, dice):
    pid = server.process.pid
    with LIMITING:
        before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (faults.open_descriptors(pid) + 4, before[1]))
        try:
            crowd = [faults.connect(server) for _ in range(20)]
            time.sleep(dice.uniform(0.1, 0.5))
        finally:
            resource.prlimit(pid, resource.RLIMIT_NOFILE, before)
    for connection in crowd:
        connection.close()


# How often each, relative to the others: what is dear for this machine or ill for the rest of the load is rarer.
WEIGHTS = {
    long_prompts: 6, several_sampled_answers: 6, scores_of_a_prompt: 4, constrained_answers: 4, streams_that_are_left: 6,
    clients_that_vanish: 6, grpc_calls_that_end_early: 6, readers_that_stall: 2, slow_senders: 4, giants_and_garbage: 5,
    bodies_of_garbage: 5, deep_json: 2, numbers_out_of_their_range: 5, bombs: 1, crowds: 1, numbers_that_are_none: 4,
    signals: 1, stopped_process: 1, no_file_descriptors: 1,
}


def warm_up(server):
    """Everything once, so that first times are no growth later."""
    dice = random.Random(0)
    for kind in WEIGHTS:
        kind(server, dice)
    for bomb in BOMBS:
        throw_bomb(server, bomb)
