"""Ranks in processes of their own, over Gloo on the loopback."""

import concurrent.futures
import json
import signal
import time

import grpc
import httpx
import openai
import pytest

import harness
from test_grpc import endless, merge, request_for
from test_openai_sdk import endless_completion


def test_two_processes_generate_what_one_does():
    arguments = ["generate", "--model", harness.MODEL, "--prompt", "In the beginning", "--max-tokens", "24", "--json"]
    alone = json.loads(harness.run(*arguments).stdout)
    port = harness.free_port()
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        leader, follower = pool.map(
            lambda idx: harness.run(*arguments, environment=harness.launcher_environment(idx, 2, port)), range(2))
    assert leader.returncode == 0, leader.stderr
    assert follower.returncode == 0, follower.stderr
    assert follower.stdout == ""
    assert json.loads(leader.stdout) == alone


def test_torchruns_own_port_is_left_alone():
    arguments = ["generate", "--model", harness.MODEL, "--prompt", "In the beginning", "--max-tokens", "2", "--json"]
    port = harness.free_port()
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        results = list(pool.map(lambda idx: harness.run(
            *arguments, environment={**harness.launcher_environment(idx, 2, port),
                                     "TORCHELASTIC_USE_AGENT_STORE": "True"}), range(2)))
    assert [result.returncode for result in results] == [0, 0], results[0].stderr
    assert f":{port + 1}" in results[1].stderr


@pytest.fixture
def pair(tmp_path):
    """A server of two processes."""
    port = harness.free_port()
    for name in ("leader", "follower"):
        (tmp_path / name).mkdir()
    model = harness.long_model(tmp_path)
    with harness.Process(tmp_path / "follower", "serve", "--model", model, *harness.ROOM,
                         environment=harness.launcher_environment(1, 2, port)) as follower:
        with harness.Server(tmp_path / "leader", *harness.ROOM, model=model,
                            environment=harness.launcher_environment(0, 2, port)) as leader:
            yield leader, follower


def test_a_pair_serves_and_both_end_on_sigterm(pair):
    leader, follower = pair
    answer = merge(leader.stub.Generate(request_for(chat="What is 12 + 7?")))
    assert "19" in answer.text
    leader.terminate()
    follower.signal(signal.SIGTERM)
    assert leader.wait() == 0, leader.log()
    assert follower.wait() == 0, follower.log()


def test_a_killed_rank_fails_requests_by_name_and_nothing_hangs(pair):
    leader, follower = pair
    http_stream = iter(endless_completion(leader))
    grpc_stream = leader.stub.Generate(endless())
    next(http_stream), next(grpc_stream)
    begin = time.monotonic()
    follower.signal(signal.SIGKILL)
    with pytest.raises(grpc.RpcError) as lost:
        list(grpc_stream)
    assert lost.value.code() == grpc.StatusCode.UNAVAILABLE
    assert "rank 1" in lost.value.details()
    with pytest.raises(openai.APIError) as lost:
        list(http_stream)
    assert "rank 1" in str(lost.value)
    for path, arguments in (("/v1/completions", {"json": {"prompt": "hello"}}), ("/ready", {})):
        refused = harness.within_notice(begin, lambda: httpx.request(
            "POST" if arguments else "GET", leader.url + path, timeout=harness.PATIENCE, **arguments))
        assert refused is None or (refused.status_code == 503 and "rank 1" in refused.text)
    assert leader.wait() == 1  # by itself: a supervisor is to start the job anew
    assert "rank 1" in leader.log()
