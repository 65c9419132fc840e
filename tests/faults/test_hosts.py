"""Ranks on two hosts: this one, and one that is a network namespace behind a virtual cable."""

import contextlib
import ctypes
import os
import shutil
import signal
import subprocess
import time

import openai
import pytest

import harness

CLONE_NEWNET = 0x40000000
RANK_TIMEOUT = 8  # seconds


class OtherHost:
    """A network namespace whose processes share nothing with this host's but the cable. The addresses are of the blocks
    for benchmarks (RFC 2544, RFC 5180)."""

    def __init__(self):
        self.name = f"switchyard-{os.getpid()}"
        self.cable = f"sy{os.getpid()}"
        self.address = {"ipv4": "198.18.77.1", "ipv6": "2001:2:0:77::1"}  # of this host, on the cable

    def __enter__(self):
        self.ip("netns", "add", self.name)
        try:
            self.ip("link", "add", self.cable, "type", "veth", "peer", "name", "cable", "netns", self.name)
            for where, link, host in (((), self.cable, 1), (("-n", self.name), "cable", 2)):
                self.ip(*where, "addr", "add", f"198.18.77.{host}/24", "dev", link)
                self.ip(*where, "-6", "addr", "add", f"2001:2:0:77::{host}/64", "dev", link, "nodad")
                self.ip(*where, "link", "set", link, "up")
            self.ip("-n", self.name, "link", "set", "lo", "up")
            self.ip("netns", "exec", self.name, "true")
            harness.wait_until(lambda: "LOWER_UP" in self.ip("link", "show", self.cable), "the cable is up")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        self.ip("netns", "del", self.name)  # and with it the cable

    @staticmethod
    def ip(*arguments):
        return subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True).stdout

    def move_in(self):
        """Between fork and exec of a process that is to run there."""
        with open(f"/run/netns/{self.name}") as namespace:
            if ctypes.CDLL(None).setns(namespace.fileno(), CLONE_NEWNET) != 0:
                os._exit(126)

    def cut_the_cable(self):
        self.ip("link", "set", self.cable, "down")


@pytest.fixture
def other_host():
    if shutil.which("ip") is None or os.geteuid() != 0:
        pytest.skip("network namespaces need iproute2 and root")
    with contextlib.ExitStack() as stack:
        try:
            host = stack.enter_context(OtherHost())
        except subprocess.CalledProcessError as refused:
            pytest.skip(f"no network namespaces here: {refused.stderr.strip()}")
        yield host


def two_hosts(directory, other_host, family, *flags, model=harness.MODEL):
    """Follower and leader, not yet started."""
    port = harness.free_port()
    environment = [{**harness.launcher_environment(rank, 2, port), "MASTER_ADDR": other_host.address[family]}
                   for rank in range(2)]
    for name in ("leader", "follower"):
        (directory / name).mkdir()
    return (lambda: harness.Process(directory / "follower", "serve", "--model", model, *flags, environment=environment[1],
                                    preexec_fn=other_host.move_in),
            lambda: harness.Server(directory / "leader", *flags, model=model, environment=environment[0]))


@pytest.mark.parametrize("family", ["ipv4", "ipv6"])
def test_two_hosts_answer_as_one(tmp_path, other_host, family):
    follower, leader = two_hosts(tmp_path, other_host, family)
    with follower() as follower, leader() as leader:
        answer = leader.openai().chat.completions.create(
            model=harness.NAME, messages=[{"role": "user", "content": "What is 12 + 7?"}], max_tokens=16, temperature=0)
        assert answer.choices[0].message.content == "19"
        leader.terminate()
        follower.signal(signal.SIGTERM)
        assert leader.wait() == 0, leader.log()
        assert follower.wait() == 0, follower.log()


def test_a_cut_cable_fails_requests_by_the_lost_ranks_name_on_both_hosts(tmp_path, other_host):
    follower, leader = two_hosts(tmp_path, other_host, "ipv4", "--rank-timeout", str(RANK_TIMEOUT), *harness.ROOM,
                                 model=harness.long_model(tmp_path))
    with follower() as follower, leader() as leader:
        stream = iter(leader.openai().completions.create(
            model=harness.NAME, prompt="Now is the winter of", max_tokens=harness.ENDLESS_TOKENS, temperature=0,
            stream=True, extra_body={"ignore_eos": True}))
        next(stream)
        other_host.cut_the_cable()
        begin = time.monotonic()
        with pytest.raises(openai.APIError, match="rank 1"):
            list(stream)
        assert leader.wait() == 1
        assert follower.wait() == 1
        assert time.monotonic() - begin < harness.PATIENCE / 2, "no process waits for a host that is gone"
        assert "rank 0" in follower.log()
