"""The process's edge: what listens, what needs a key, SIGHUP, unix sockets, file descriptors."""

import contextlib
import json
import os
import re
import resource
import signal
import socket
import time

import grpc
import httpx
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from switchyard.v1 import generation_pb2

import harness
from test_grpc import request_for


def cpu_ticks(pid):
    """User and system time, in hundredths of a second."""
    with open(f"/proc/{pid}/stat") as stat:
        return sum(map(int, stat.read().rsplit(")", 1)[1].split()[11:13]))


def test_sighup_reads_keys_again_and_reopens_the_access_log(tmp_path):
    keys, log = tmp_path / "keys", tmp_path / "access.log"
    keys.write_text("team:first\n")
    with harness.Server(tmp_path, "--api-key-file", keys, "--access-log", log) as server:

        def status(key):
            return server.get("/v1/models", headers={"Authorization": f"Bearer {key}"}).status_code

        assert (status("first"), status("second")) == (200, 401)
        keys.write_text("team:second\n")
        log.rename(tmp_path / "access.log.1")
        server.signal(signal.SIGHUP)
        harness.wait_until(lambda: status("second") == 200, "the new key is taken")
        assert status("first") == 401
        harness.wait_until(lambda: status("second") == 200 and log.exists() and log.read_text(), "the new log is written")

        keys.write_text("bad name:third\n")
        server.signal(signal.SIGHUP)
        harness.wait_until(lambda: "API keys as before" in server.log(), "the error is logged")
        assert (status("second"), status("third")) == (200, 401)
        assert "third" not in server.log()
    line = json.loads(log.read_text().splitlines()[0])
    assert line["path"] == "/v1/models" and line["key"] in ("team", None)


def listening(pid):
    """Addresses in /proc/net's form that a process listens at: IPv4, or IPv6 with what is mapped into it."""
    inodes = set()
    for descriptor in os.listdir(f"/proc/{pid}/fd"):
        with contextlib.suppress(FileNotFoundError):  # closed since
            link = os.readlink(f"/proc/{pid}/fd/{descriptor}")
            if link.startswith("socket:"):
                inodes.add(link.removeprefix("socket:[").rstrip("]"))
    lines = [line.split() for name in ("tcp", "tcp6") for line in open(f"/proc/{pid}/net/{name}").readlines()[1:]]
    return {fields[1] for fields in lines if fields[3] == "0A" and fields[9] in inodes}


LOOPBACK = {"0100007F", "0000000000000000FFFF00000100007F", "00000000000000000000000001000000"}


def test_two_front_ends_on_loopback_are_all_that_listens(tmp_path):
    flags = harness.run("serve", "--help").stdout
    for flag, address in (("--http", "127.0.0.1:8000"), ("--grpc", "127.0.0.1:50051")):
        assert re.search(rf"{flag} HOST.*\[{address}\]", flags)
    with harness.Server(tmp_path, "--ranks", "2") as server:
        ports = {int(server.url.rsplit(":", 1)[1]), int(server.grpc_address.rsplit(":", 1)[1])}
        found = [address.split(":") for address in listening(server.process.pid)]
        assert {host for host, _ in found} <= LOOPBACK
        assert {int(port, 16) for _, port in found} == ports


def test_keys_guard_everything_but_the_page_and_the_two_health_services(tmp_path):
    (tmp_path / "keys").write_text("secret\n")
    with harness.Server(tmp_path, "--api-key-file", tmp_path / "keys") as server:
        guarded = ["/ready", "/metrics", "/version", "/v1/models", "/v1/experts", "/tokenizer_info", "/", "/no/such/path"]
        assert [path for path in guarded if server.get(path).status_code != 401] == ["/"]
        for path in ("/v1/completions", "/v1/chat/completions", "/tokenize", "/detokenize"):
            assert httpx.post(server.url + path, json={}, timeout=harness.PATIENCE).status_code == 401
        assert server.get("/health").status_code == 200
        assert server.get("/metrics", headers={"Authorization": "Bearer secret"}).status_code == 200
        for name in ("Tokenize", "GetModelInfo", "GetLoad", "GetExpertLoad"):
            with pytest.raises(grpc.RpcError) as refused:
                getattr(server.stub, name)(getattr(generation_pb2, name + "Request")())
            assert refused.value.code() == grpc.StatusCode.UNAUTHENTICATED, name
        health = health_pb2_grpc.HealthStub(server.channel).Check(health_pb2.HealthCheckRequest())
        assert health.status == health_pb2.HealthCheckResponse.SERVING


def test_both_front_ends_serve_unix_sockets(tmp_path):
    http, rpc = tmp_path / "http.sock", tmp_path / "grpc.sock"
    ready = tmp_path / "ready.json"
    process = harness.Process(tmp_path, "serve", "--model", harness.MODEL, "--http", f"unix:{http}", "--grpc",
                              f"unix:{rpc}", "--ready-file", ready)
    with process:
        harness.wait_until(lambda: ready.exists() or process.process.poll() is not None, "the server is ready")
        assert json.loads(ready.read_text())["http"] == {"unix": str(http)}
        assert (os.stat(http).st_mode & 0o777, os.stat(rpc).st_mode & 0o777) == (0o600, 0o600)
        with httpx.Client(transport=httpx.HTTPTransport(uds=str(http)), timeout=harness.PATIENCE) as client:
            assert client.get("http://localhost/v1/models").status_code == 200
        with grpc.insecure_channel(f"unix:{rpc}") as channel:
            stub = harness.generation_pb2_grpc.GenerationStub(channel)
            assert list(stub.Generate(request_for(text="hello", max_tokens=2)))
        process.signal(signal.SIGTERM)
        assert process.wait() == 0, process.log()
    assert not http.exists()


def test_a_server_without_file_descriptors_recovers(tmp_path):
    with harness.Server(tmp_path) as server:
        pid = server.process.pid
        open_now = len(os.listdir(f"/proc/{pid}/fd"))
        hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)[1]
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (open_now + 4, hard))
        begin = time.monotonic()
        address = server.url.removeprefix("http://").split(":")
        crowd = [socket.create_connection((address[0], int(address[1]))) for _ in range(20)]
        harness.wait_until(lambda: "accepting a connection failed" in server.log(), "accept fails")
        spent = cpu_ticks(pid)
        time.sleep(1)
        assert cpu_ticks(pid) - spent < 50, "the server spins"  # half a second of CPU in one
        for connection in crowd:
            connection.close()
        assert server.get("/health").status_code == 200
        # A warning in ten seconds at most.
        assert server.log().count("accepting a connection failed") <= 2 + (time.monotonic() - begin) // 10
