"""The process's edge: SIGHUP, unix sockets, file descriptors."""

import json
import os
import resource
import signal
import socket
import time

import grpc
import httpx

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
        harness.wait_until(lambda: log.exists() and log.read_text(), "the new log is written")

        keys.write_text("bad name:third\n")
        server.signal(signal.SIGHUP)
        harness.wait_until(lambda: "API keys as before" in server.log(), "the error is logged")
        assert (status("second"), status("third")) == (200, 401)
        assert "third" not in server.log()
    line = json.loads(log.read_text().splitlines()[0])
    assert line["path"] == "/v1/models" and line["key"] in ("team", None)


def test_both_front_ends_serve_unix_sockets(tmp_path):
    http, rpc = tmp_path / "http.sock", tmp_path / "grpc.sock"
    ready = tmp_path / "ready.json"
    process = harness.Process(tmp_path, "serve", "--model", harness.MODEL, "--http", f"unix:{http}", "--grpc",
                              f"unix:{rpc}", "--ready-file", ready)
    with process:
        harness.wait_until(ready.exists, "the server is ready")
        assert json.loads(ready.read_text())["http"] == {"unix": str(http)}
        assert (os.stat(http).st_mode & 0o777, os.stat(rpc).st_mode & 0o777) == (0o600, 0o600)
        with httpx.Client(transport=httpx.HTTPTransport(uds=str(http))) as client:
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
        address = server.url.removeprefix("http://").split(":")
        crowd = [socket.create_connection((address[0], int(address[1]))) for _ in range(20)]
        harness.wait_until(lambda: "accepting a connection failed" in server.log(), "accept fails")
        spent = cpu_ticks(pid)
        time.sleep(1)
        assert cpu_ticks(pid) - spent < 50, "the server spins"  # half a second of CPU in one
        for connection in crowd:
            connection.close()
        assert server.get("/health").status_code == 200
        assert server.log().count("accepting a connection failed") <= 2
