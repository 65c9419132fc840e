"""Ranks that stall, come back or disagree, and more load than can be served."""

import concurrent.futures
import contextlib
import functools
import re
import signal
import threading
import time

import grpc
import httpx
import pytest

import harness
from test_grpc import endless, idle, merge, request_for


class Pair:
    """A server of two processes; the second can be replaced, as a supervisor does it. A collective is waited for longer
    than a test waits for anything: what ends sooner was found by other means."""

    def __init__(self, directory, stack, *arguments, leader_arguments=()):
        self.directory, self.stack = directory, stack
        self.model = harness.long_model(directory)
        self.arguments = (*harness.ROOM, "--collective-timeout", "10m", *arguments)
        self.port = harness.free_port()
        self.followers = []
        self.start_follower()
        (directory / "leader").mkdir()
        self.leader = stack.enter_context(harness.Server(directory / "leader", *self.arguments, *leader_arguments,
                                                         model=self.model,
                                                         environment=harness.launcher_environment(0, 2, self.port)))

    def start_follower(self):
        directory = self.directory / f"follower-{len(self.followers)}"
        directory.mkdir()
        follower = harness.Process(directory, "serve", "--model", self.model, *self.arguments,
                                   environment=harness.launcher_environment(1, 2, self.port))
        self.followers.append(self.stack.enter_context(follower))

    @property
    def follower(self):
        return self.followers[-1]

    def answer(self):
        return list(merge(self.leader.stub.Generate(request_for(chat="What is 12 + 7?"))).token_ids)


@pytest.fixture
def start_pair(tmp_path):
    with contextlib.ExitStack() as stack:
        yield functools.partial(Pair, tmp_path, stack)


def lose(pair, number):
    """Sends the follower a signal during a stream; the stream's end."""
    stream = pair.leader.stub.Generate(endless(), timeout=harness.PATIENCE)
    next(stream)
    pair.follower.signal(number)
    with pytest.raises(grpc.RpcError) as lost:
        list(stream)
    return lost.value


def test_a_stopped_process_is_found_within_seconds_and_named(start_pair):
    pair = start_pair("--rank-timeout", "5s")
    lost = lose(pair, signal.SIGSTOP)
    assert lost.code() == grpc.StatusCode.UNAVAILABLE
    assert "process 1 (rank 1) did not take part within 5s" in lost.details()
    assert pair.leader.wait() == 1
    assert "process 1 (rank 1)" in pair.leader.log()


def test_an_idle_server_finds_a_stopped_process_too(start_pair):
    pair = start_pair("--rank-timeout", "5s")
    pair.follower.signal(signal.SIGSTOP)
    begin = time.monotonic()

    def readiness():
        reply = harness.within_notice(begin, lambda: pair.leader.get("/ready"))
        return reply.status_code if reply is not None else "ended"

    harness.wait_until(lambda: readiness() in (503, "ended"), "the loss is known")
    assert pair.leader.wait() == 1
    assert "process 1 (rank 1)" in pair.leader.log()


def expect_recovery(pair, before):
    harness.wait_until(lambda: pair.leader.get("/ready").status_code == 200, "the ranks are built anew")
    assert pair.answer() == before
    assert pair.leader.metric("switchyard:prefix_cache_queries_total") > 0
    assert pair.leader.metric("switchyard:prefix_cache_hits_total") == 0  # new pages, nothing in them
    assert pair.leader.metric("switchyard:rank_restarts_total") == 1
    assert idle(pair.leader)


def test_a_killed_process_that_is_started_again_is_taken_back(start_pair):
    pair = start_pair("--rank-timeout", "5s", "--restart-ranks", "2")
    before = pair.answer()
    lost = lose(pair, signal.SIGKILL)
    assert lost.code() == grpc.StatusCode.UNAVAILABLE and "rank 1" in lost.details()
    ready = harness.wait_until(lambda: (reply := pair.leader.get("/ready")).status_code == 503 and reply, "not ready")
    assert ready.json()["status"] == "recovering" and "rank 1" in ready.text
    assert pair.leader.get("/health").status_code == 200  # nobody is to kill it meanwhile
    refused = httpx.post(pair.leader.url + "/v1/completions", json={"prompt": "hello"}, timeout=harness.PATIENCE)
    assert refused.status_code == 503 and int(refused.headers["retry-after"]) >= 1
    pair.start_follower()
    expect_recovery(pair, before)
    pair.leader.terminate()
    assert pair.leader.wait() == 0, pair.leader.log()
    assert pair.follower.wait() == 0, pair.follower.log()


def test_a_stopped_process_that_goes_on_joins_again(start_pair):
    pair = start_pair("--rank-timeout", "5s", "--restart-ranks", "2")
    before = pair.answer()
    lost = lose(pair, signal.SIGSTOP)
    assert "process 1 (rank 1)" in lost.details()
    pair.follower.signal(signal.SIGCONT)
    expect_recovery(pair, before)


def test_a_process_that_does_not_come_back_ends_the_server(start_pair):
    pair = start_pair("--restart-ranks", "1", leader_arguments=("--connect-timeout", "10s"))
    pair.follower.signal(signal.SIGKILL)
    assert pair.leader.wait() == 1
    assert "RANK 1" in pair.leader.log()


def test_processes_that_disagree_are_refused_with_both_values(tmp_path):
    port = harness.free_port()
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        results = list(pool.map(lambda idx: harness.run(
            "serve", "--model", harness.MODEL, "--http", "127.0.0.1:0", "--grpc", "127.0.0.1:0", "--page-size",
            (16, 32)[idx], environment=harness.launcher_environment(idx, 2, port)), range(2)))
    for result in results:
        assert result.returncode == 2, result.stderr
        assert '--page-size is "16" in process 0 and "32" in process 1' in result.stderr


def ask_from_forty(server, body, seconds):
    """Replies to 40 clients that each ask once, and again until the seconds are over."""
    end = time.monotonic() + seconds
    replies, lock = [], threading.Lock()
    # A client per request would keep this machine busier than the server does.
    http = httpx.Client(timeout=harness.PATIENCE, limits=httpx.Limits(max_connections=None))

    def client(_):
        while True:
            reply = http.post(server.url + "/v1/completions", json=body)
            with lock:
                replies.append(reply)
            if time.monotonic() > end:
                return
            if reply.status_code == 429:
                time.sleep(0.1)  # ten times too soon

    with http, concurrent.futures.ThreadPoolExecutor(40) as pool:
        list(pool.map(client, range(40)))
    for reply in replies:
        assert reply.status_code in (200, 429), reply.text
        if reply.status_code == 429:
            assert 1 <= int(reply.headers["retry-after"]) <= 60
            assert "--max-queue" in reply.json()["error"]["message"]
    return replies


def test_four_times_what_runs_and_waits_is_served_in_time_or_refused(tmp_path):
    with harness.Server(tmp_path, "--max-running-requests", "4", "--max-queued-requests", "6", "--max-queue-seconds",
                        "1", "--ranks", "2", *harness.ROOM, model=harness.long_model(tmp_path)) as server:
        body = {"model": harness.NAME, "prompt": "In the beginning", "max_tokens": 60, "ignore_eos": True,
                "temperature": 0}
        alone = httpx.post(server.url + "/v1/completions", json=body, timeout=harness.PATIENCE).json()
        # While every place is taken for good, nobody is served, those that wait no longer than they may.
        holders = [server.stub.Generate(endless()) for _ in range(4)]
        for holder in holders:
            next(holder)
        in_vain = ask_from_forty(server, body, seconds=0)
        assert len(in_vain) == 40 and {reply.status_code for reply in in_vain} == {429}
        reasons = [re.search(r"--max-queue\S*[a-z]", reply.json()["error"]["message"])[0] for reply in in_vain]
        assert set(reasons) == {"--max-queued-requests", "--max-queue-seconds"}
        for holder in holders:
            holder.cancel()
        harness.wait_until(lambda: idle(server), "the places are free")

        replies = ask_from_forty(server, body, seconds=5)
        served = [reply for reply in replies if reply.status_code == 200]
        assert {reply.json()["choices"][0]["text"] for reply in served} == {alone["choices"][0]["text"]}
        harness.wait_until(lambda: idle(server), "all pages are back")
        assert server.metric("switchyard:requests_rejected_total") == len(in_vain) + len(replies) - len(served)
        # What is left of the time to first token is one prefill, as long as this machine makes it.
        counts = {float(bound): float(count) for bound, count in re.findall(
            r'switchyard:request_queue_time_seconds_bucket\{.*le="([\d.]+)"\} (\S+)', server.get("/metrics").text)}
        assert counts[1.5] == 1 + len(holders) + len(served), counts
