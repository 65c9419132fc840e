"""A switchyard process under test, and waiting with a bound."""

import json
import os
import pathlib
import random
import signal
import socket
import subprocess
import time

import grpc
import httpx
import openai
from switchyard.v1 import generation_pb2_grpc

BINARY = os.environ["E2E_BINARY"]
SOURCE = pathlib.Path(os.environ["E2E_SOURCE"])
MODEL = SOURCE / "models" / "tiny-mixtral"
NAME = "tiny-mixtral"
PATIENCE = 120  # seconds; for a machine that is busy with other tests
NOTICE = 5  # seconds for which a server that has failed says so before it ends


def wait_until(condition, what, limit=PATIENCE):
    """The condition's first true value; fails naming `what` when there is none within `limit` seconds."""
    end = time.monotonic() + limit
    while time.monotonic() < end:
        value = condition()
        if value:
            return value
        time.sleep(0.02)
    if value := condition():  # this machine may have stood still meanwhile
        return value
    raise AssertionError(f"not within {limit} s: {what}")


def long_model(directory):
    """The bundled model with a longer context. A request for ENDLESS_TOKENS of it ends in minutes on any machine, for every
    token reads all keys and values before it: what is to happen to a running request finds it running."""
    model = directory / "long" / NAME
    model.mkdir(parents=True)
    for path in MODEL.iterdir():
        if path.name != "config.json":
            (model / path.name).symlink_to(path.resolve())
    config = json.loads((MODEL / "config.json").read_text())
    (model / "config.json").write_text(json.dumps({**config, "max_position_embeddings": 131072}))
    return model


ENDLESS_TOKENS = 120_000
ROOM = ["--kv-cache", "2GiB"]  # per rank, for four of them; memory only as it is filled


def within_notice(begin, ask):
    """What `ask()` returns; None where it came too late, for the server that failed after `begin` had ended by then."""
    try:
        return ask()
    except (httpx.TransportError, openai.APIConnectionError):
        if time.monotonic() - begin < NOTICE:
            raise
        return None


def free_port(first=15000, end=32000):
    """A port that nobody listens on, nor on the next; not one of those that the kernel gives to connections."""
    while True:
        port = random.SystemRandom().randrange(first, end, 2)
        try:
            with socket.socket() as probe, socket.socket() as next_probe:
                probe.bind(("127.0.0.1", port))
                next_probe.bind(("127.0.0.1", port + 1))
                return port
        except OSError:
            continue


def launcher_environment(process_idx, num_processes, port):
    """As torchrun sets it."""
    return {"WORLD_SIZE": str(num_processes), "RANK": str(process_idx), "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(port), "LOCAL_WORLD_SIZE": str(num_processes), "LOCAL_RANK": str(process_idx)}


def run(*arguments, stdin=None, environment=None):
    """One command to its end."""
    return subprocess.run([BINARY, *map(str, arguments)], input=stdin, capture_output=True, text=True, timeout=PATIENCE,
                          env={**os.environ, **(environment or {})})


class Process:
    """Runs until stopped; standard output and error go to files in `directory`."""

    def __init__(self, directory, *arguments, environment=None, preexec_fn=None):
        self.directory = directory
        self.stdout = open(directory / "stdout", "w+")
        self.stderr = open(directory / "stderr", "w+")
        self.process = subprocess.Popen([BINARY, *map(str, arguments)], stdout=self.stdout, stderr=self.stderr,
                                        env={**os.environ, **(environment or {})}, preexec_fn=preexec_fn)

    def output(self):
        return (self.directory / "stdout").read_text()

    def log(self):
        return (self.directory / "stderr").read_text()

    def signal(self, number):
        self.process.send_signal(number)

    def wait(self):
        return self.process.wait(timeout=PATIENCE)

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self.stdout.close()
        self.stderr.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class Server(Process):
    """`serve` on free ports, ready when constructed."""

    def __init__(self, directory, *arguments, model=MODEL, environment=None, preexec_fn=None):
        ready = directory / "ready.json"
        super().__init__(directory, "serve", "--model", model, "--http", "127.0.0.1:0", "--grpc", "127.0.0.1:0",
                         "--ready-file", ready, *arguments, environment=environment, preexec_fn=preexec_fn)
        try:
            wait_until(lambda: ready.exists() or self.process.poll() is not None, "the server is ready")
            assert ready.exists(), f"the server ended with {self.process.returncode}: {self.log()}"
        except AssertionError:
            self.close()
            raise
        ports = json.loads(ready.read_text())
        self.url = f"http://127.0.0.1:{ports['http']['port']}"
        self.grpc_address = f"127.0.0.1:{ports['grpc']['port']}"
        self.channel = grpc.insecure_channel(self.grpc_address)
        self.stub = generation_pb2_grpc.GenerationStub(self.channel)

    def openai(self, api_key="none"):
        return openai.OpenAI(base_url=f"{self.url}/v1", api_key=api_key, max_retries=0, timeout=PATIENCE)

    def get(self, path, **arguments):
        return httpx.get(self.url + path, timeout=PATIENCE, **arguments)

    def metric(self, name):
        """The sum over a metric's series."""
        lines = [line for line in self.get("/metrics").text.splitlines() if line.startswith((name + " ", name + "{"))]
        assert lines, f"/metrics has no {name}"
        return sum(float(line.split()[-1]) for line in lines)

    def terminate(self):
        self.signal(signal.SIGTERM)

    def close(self):
        if hasattr(self, "channel"):
            self.channel.close()
        super().close()
