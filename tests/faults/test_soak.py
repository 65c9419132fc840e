"""Mixed load with random faults for a while: memory stays flat, answers stay right. SOAK_SECONDS says for how long.

The load is modest (a fraction of a core), so that it can run for an hour beside other work.
"""

import collections
import os
import random
import statistics
import threading
import time

import faults
import harness
import soak_faults
from lost_ranks import LostRanks
from test_process import cpu_seconds, poisoned_model

SECONDS = int(os.environ.get("SOAK_SECONDS", "60"))
NUM_CLIENTS = 4
PAUSE = 1.0  # seconds between what one client does, on average
SLACK = 32 * 2**20  # bytes by which memory may differ and be called flat


class MixedClient(threading.Thread):
    def __init__(self, server, stop, seed):
        super().__init__()
        self.server = server
        self.stop = stop
        self.dice = random.Random(seed)
        self.counts = collections.Counter()
        self.failures = []

    def run(self):
        kinds, weights = zip(*soak_faults.WEIGHTS.items())
        while not self.stop.wait(self.dice.expovariate(1 / PAUSE)):
            (kind,) = self.dice.choices(kinds, weights)
            self.counts[kind.__name__] += 1
            try:
                kind(self.server, self.dice)
            except Exception as error:  # noqa: BLE001: every unexpected end is a failure of the soak
                self.failures.append(f"{kind.__name__}: {error!r}")


def growth(samples):
    """What the last quarter holds over what the second held, as medians: what stays, not what one request takes while it
    runs. The first quarter is for warming up. Fewer than four samples do not tell."""
    quarter = len(samples) // 4
    return 0 if quarter == 0 else statistics.median(samples[-quarter:]) - statistics.median(samples[quarter:2 * quarter])


def mebibytes(samples):
    return ", ".join(f"{samples[(len(samples) - 1) * part // 4] / 2**20:.0f}" for part in range(5) if samples)


def test_soak(tmp_path):
    model = poisoned_model(tmp_path / "model", soak_faults.POISONED_TOKEN)
    # So few KV pages that the prefix cache has been in all of them before the first quarter ends.
    with harness.Server(tmp_path, "--ranks", "2", "--served-model-name", harness.NAME, "--http-header-timeout", "15s",
                        "--max-running-requests", "16", "--max-queued-requests", "32", "--kv-cache", "32MiB",
                        "--access-log", "/dev/full", model=model) as server:
        faults.warm_up(server)
        soak_faults.warm_up(server)
        stop = threading.Event()
        bystander = faults.Bystander(server, pause=PAUSE / 2)
        clients = [MixedClient(server, stop, seed) for seed in range(NUM_CLIENTS)]
        (tmp_path / "pair").mkdir()
        lost_ranks = LostRanks(tmp_path / "pair", seconds_between=min(30, SECONDS / 6))
        samples = []
        for thread in (bystander, lost_ranks, *clients):
            thread.start()
        end = time.monotonic() + SECONDS
        try:
            while time.monotonic() < end:
                time.sleep(SECONDS / 200)
                assert server.process.poll() is None, server.log()[-2000:]
                samples.append(faults.resident_bytes(server.process.pid))
        finally:
            stop.set()
            for thread in (lost_ranks, bystander):
                thread.finish()
            for client in clients:
                client.join()
        failures = [failure for client in clients for failure in client.failures]
        counts = sum((client.counts for client in clients), collections.Counter())
        assert failures == [], f"{len(failures)}: {failures[:3]}"
        assert bystander.wrong == [], bystander.wrong[0]
        assert lost_ranks.wrong == [] and lost_ranks.resident, lost_ranks.wrong[:1]
        print(f"{SECONDS} s: {bystander.num_requests} checked answers, {counts.total()} of the rest {dict(counts)},"
              f" {len(lost_ranks.resident) - 1} lost ranks; resident MiB at 0, 1/4, 1/2, 3/4 and the end: {mebibytes(samples)};"
              f" of the process whose peer dies: {mebibytes(lost_ranks.resident)}; {cpu_seconds(server.process.pid):.0f} s of CPU")
        harness.wait_until(lambda: server.metric("switchyard:kv_pages_used") == 0, "all KV pages have returned")
        assert growth(samples) < SLACK and growth(lost_ranks.resident) < SLACK
        server.terminate()
        assert server.wait() == 0, server.log()[-2000:]
