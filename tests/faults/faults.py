"""What attacks share: raw sockets, bystanders, and looking at the server's process."""

import json
import os
import socket
import threading
import time
import urllib.parse

import httpx

import harness

PROMPTS = ["In the beginning", "What is 12 + 7?", "To be, or not", "hello"]
TOKENS = 16
LONG_ANSWER = 30_000  # tokens: of harness.long_model more than ten seconds of work, whatever the machine


def resident_bytes(pid):
    with open(f"/proc/{pid}/statm") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def open_descriptors(pid):
    return len(os.listdir(f"/proc/{pid}/fd"))


def complete(server, prompt, **fields):
    body = {"model": harness.NAME, "prompt": prompt, "max_tokens": TOKENS, "temperature": 0, **fields}
    return httpx.post(f"{server.url}/v1/completions", json=body, timeout=harness.PATIENCE)


def warm_up(server):
    for prompt in PROMPTS:
        assert complete(server, prompt).status_code == 200


class Bystander(threading.Thread):
    """A well-behaved client: asks the same greedy questions again and again, `pause` seconds apart, and notes every
    answer that differs."""

    def __init__(self, server, pause=0):
        super().__init__()
        self.server = server
        self.pause = pause
        self.expected = [complete(server, prompt).json()["choices"][0]["text"] for prompt in PROMPTS]
        self.ended = threading.Event()
        self.num_requests = 0
        self.wrong = []

    def run(self):
        while not self.ended.is_set():
            self.ask_all()

    def ask_all(self):
        for prompt, expected in zip(PROMPTS, self.expected):
            try:
                reply = self.complete_patiently(prompt)
                text = reply.json()["choices"][0]["text"] if reply.status_code == 200 else reply.text
            except (httpx.TransportError, ValueError, KeyError) as error:
                text = repr(error)
            self.num_requests += 1
            self.ended.wait(self.pause)
            if text != expected:
                self.wrong.append(f"{prompt!r}: {text!r} instead of {expected!r}")

    def complete_patiently(self, prompt):
        """Comes again when it is told to: a full queue is no fault of the answer."""
        end = time.monotonic() + harness.PATIENCE
        while True:
            reply = complete(self.server, prompt)
            if reply.status_code != 429 or time.monotonic() > end:
                return reply
            time.sleep(min(1, int(reply.headers["retry-after"])))

    def finish(self):
        self.ended.set()
        self.join(timeout=harness.PATIENCE)
        self.ask_all()  # and once more, after the attack


def connect(server):
    address = urllib.parse.urlsplit(server.url)
    return socket.create_connection((address.hostname, address.port), timeout=harness.PATIENCE)


def num_held(server, connections):
    """How many of these connections the server still holds: what it has closed has no descriptor, though the kernel may
    have bytes left to send."""
    ends = {(urllib.parse.urlsplit(server.url).port, connection.getsockname()[1]) for connection in connections}
    with open("/proc/net/tcp") as table:
        rows = [line.split() for line in table.readlines()[1:]]
    return sum(1 for row in rows if tuple(int(row[i].split(":")[1], 16) for i in (1, 2)) in ends and row[9] != "0")


def send_ignoring_refusal(connection, data):
    """False once the server has closed its side."""
    try:
        connection.sendall(data)
        return True
    except OSError:
        return False


def reply_of(connection):
    """Status and body of whatever comes until the end of the connection; (None, "") if nothing does."""
    data = b""
    try:
        while piece := connection.recv(65536):
            data += piece
    except OSError:
        pass
    if not data:
        return None, ""
    head, _, body = data.partition(b"\r\n\r\n")
    return int(head.split()[1]), body.decode(errors="replace")


def post_head(path="/v1/completions", *lines):
    return "\r\n".join([f"POST {path} HTTP/1.1", "Host: localhost", "Content-Type: application/json", *lines, "", ""]).encode()


def body_of(**fields):
    return json.dumps({"model": harness.NAME, "prompt": "In the beginning", "temperature": 0, **fields}).encode()
