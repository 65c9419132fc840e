"""A server of two processes one of which dies again and again, beside a client that asks on."""

import random
import signal
import threading

import httpx

import faults
import harness


class LostRanks(threading.Thread):
    """Kills the second process at random times and starts another, as a supervisor would. Notes what goes wrong, and how
    much memory the first, which lives on, holds after every recovery."""

    def __init__(self, directory, seconds_between):
        super().__init__()
        self.directory = directory
        self.seconds_between = seconds_between
        self.model = harness.long_model(directory)
        self.port = harness.free_port()
        self.ended = threading.Event()
        self.follower = None
        self.resident = []
        self.wrong = []

    def start_follower(self):
        directory = self.directory / f"follower-{len(self.resident)}"
        directory.mkdir()
        self.follower = harness.Process(directory, "serve", "--model", self.model, *self.flags(),
                                        environment=harness.launcher_environment(1, 2, self.port))

    @staticmethod
    def flags():
        # A process that the rest of the soak holds up for a while is not lost.
        return "--restart-ranks", "1000", "--threads", "1", "--rank-timeout", "60s", *harness.ROOM

    def run(self):
        try:
            self.lose_again_and_again()
        except Exception as error:  # noqa: BLE001: every unexpected end is a failure of the soak
            self.wrong.append(repr(error))
        finally:
            self.follower.close()

    def lose_again_and_again(self):
        dice = random.Random(1)
        self.start_follower()
        leader_directory = self.directory / "leader"
        leader_directory.mkdir()
        with harness.Server(leader_directory, *self.flags(), model=self.model,
                            environment=harness.launcher_environment(0, 2, self.port)) as leader:
            expected = faults.complete(leader, faults.PROMPTS[0]).json()["choices"][0]["text"]
            while not self.ended.is_set():
                self.resident.append(faults.resident_bytes(leader.process.pid))
                if not self.ended.wait(dice.uniform(0.5, 1.5) * self.seconds_between):
                    self.lose_one(leader)
                answer = faults.complete(leader, faults.PROMPTS[0])
                assert answer.status_code == 200 and answer.json()["choices"][0]["text"] == expected, answer.text
                assert leader.metric("switchyard:kv_pages_used") == 0
            leader.signal(signal.SIGTERM)
            assert leader.wait() == 0, leader.log()[-2000:]
        assert self.follower.wait() == 0, self.follower.log()[-2000:]

    def lose_one(self, leader):
        """With a request in flight, which is told so; returns once another process has taken the place."""
        with httpx.stream("POST", leader.url + "/v1/completions", timeout=harness.PATIENCE, json={
                "prompt": "In the beginning", "max_tokens": harness.ENDLESS_TOKENS, "ignore_eos": True, "stream": True}) as stream:
            lines = stream.iter_lines()
            next(lines)
            self.follower.signal(signal.SIGKILL)
            rest = "\n".join(lines)
        assert '"error"' in rest and "rank 1" in rest, rest[-500:]
        self.follower.close()
        self.start_follower()
        harness.wait_until(lambda: leader.get("/ready").status_code == 200, "the ranks are built anew")

    def finish(self):
        self.ended.set()
        self.join()
