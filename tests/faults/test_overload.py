"""Ten times the load that can be sustained, offered in an open loop: OVERLOAD_SECONDS says for how long."""

import collections
import os
import re
import statistics
import threading
import time

import faults
import harness
import open_loop

SECONDS = int(os.environ.get("OVERLOAD_SECONDS", "10"))
PLACES = 8
# What docs/LOAD.md says to set for a time to first token under a limit: the limit less what a prefill may take.
QUEUE_SECONDS = 2.5
FIRST_TOKEN_LIMIT = 5.0
TOKENS = 400  # of an answer, where a faster server does not get longer ones
# Answers a second of which one client in Python can offer ten times as many.
MOST_SUSTAINABLE = 25


def observed(server, name, bound):
    """How many observations of a histogram are at most the first of its bounds that is not under `bound`, and how many
    there are."""
    buckets = dict(re.findall(rf'switchyard:{name}_bucket{{.*le="([^"]+)"}} (\S+)', server.get("/metrics").text))
    values = {float(le): float(count) for le, count in buckets.items()}
    return values[min(le for le in values if le >= bound)], values[float("inf")]


class Watcher(threading.Thread):
    """The server's resident bytes, four times a second, and for how long this machine has held everything up."""

    def __init__(self, pid):
        super().__init__()
        self.pid = pid
        self.ended = threading.Event()
        self.samples = []
        self.longest_stall = 0.0  # seconds

    def run(self):
        begin = time.monotonic()
        while not self.ended.wait(0.25):
            self.samples.append(faults.resident_bytes(self.pid))
            now = time.monotonic()
            self.longest_stall = max(self.longest_stall, now - begin - 0.25)
            begin = now

    def finish(self):
        self.ended.set()
        self.join()


def test_ten_times_the_sustainable_load(tmp_path):
    with harness.Server(tmp_path, "--ranks", "2", "--max-running-requests", PLACES, "--max-queued-requests", "24",
                        "--max-queue-seconds", QUEUE_SECONDS) as server:
        answer = {"max_tokens": TOKENS, "ignore_eos": True}
        sustainable = open_loop.rate_of(server, PLACES, 3, **answer)
        if sustainable > MOST_SUSTAINABLE:
            answer["max_tokens"] = min(4000, int(TOKENS * sustainable / MOST_SUSTAINABLE))
            sustainable = open_loop.rate_of(server, PLACES, 3, **answer)
        expected = {prompt: faults.complete(server, prompt, **answer).json()["choices"][0]["text"]
                    for prompt in faults.PROMPTS}
        _, before = observed(server, "time_to_first_token_seconds", FIRST_TOKEN_LIMIT)
        watcher = Watcher(server.process.pid)
        watcher.start()
        try:
            results = open_loop.send(server, 10 * sustainable, SECONDS, faults.PROMPTS, **answer)
        finally:
            watcher.finish()

        # Nothing else than an answer or a refusal: no reset, no 5xx, no stream cut short.
        assert [outcome.error for _, outcome in results if outcome.error] == []
        counts = collections.Counter(outcome.status for _, outcome in results)
        assert set(counts) == {200, 429}, counts
        served = [(prompt, outcome) for prompt, outcome in results if outcome.status == 200]
        refused = [outcome for _, outcome in results if outcome.status == 429]
        report(sustainable, results, served, refused, watcher.samples)
        for prompt, outcome in served:
            assert outcome.text == expected[prompt]
        for outcome in refused:
            assert 1 <= int(outcome.headers["retry-after"]) <= 60
            assert b"--max-queue" in outcome.body

        # As the server saw it: a client as busy as this one sees its own delays.
        stall = watcher.longest_stall if watcher.longest_stall > 1 else 0
        limit = FIRST_TOKEN_LIMIT + stall
        in_time, begun = observed(server, "time_to_first_token_seconds", limit)
        assert begun == before + len(served)
        assert in_time == begun, f"{begun - in_time:.0f} of {begun:.0f} first tokens came after {limit:.1f} s"
        assert server.metric("switchyard:requests_rejected_total") == len(refused)

        harness.wait_until(lambda: server.metric("switchyard:kv_pages_used") == 0, "all KV pages have returned")
        assert server.metric("switchyard:num_requests_running") == server.metric("switchyard:num_requests_waiting") == 0
        third = len(watcher.samples) // 3
        assert max(watcher.samples[third:]) - max(watcher.samples[:third]) < 32 * 2**20
        for prompt in faults.PROMPTS:
            assert faults.complete(server, prompt, **answer).json()["choices"][0]["text"] == expected[prompt]


def report(sustainable, results, served, refused, memory):
    first = sorted(outcome.first_token for _, outcome in served)
    print(f"sustainable {sustainable:.1f}/s, offered {len(results) / SECONDS:.0f}/s for {SECONDS} s: {len(served)} served,"
          f" {len(refused)} refused (median after {1e3 * statistics.median(o.seconds for o in refused):.0f} ms); time to first"
          f" token {first[len(first) // 2]:.2f} s (median), {first[len(first) * 99 // 100]:.2f} s (99%), {first[-1]:.2f} s"
          f" (most), limit {FIRST_TOKEN_LIMIT} s; resident {memory[0] / 2**20:.0f} to {memory[-1] / 2**20:.0f} MiB")
