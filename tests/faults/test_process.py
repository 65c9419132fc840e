"""What befalls the process: signals, lost and stopped ranks, NaN, a full disk, no file descriptors."""

import concurrent.futures
import contextlib
import json
import os
import resource
import shutil
import signal
import struct
import subprocess
import time

import grpc
import httpx
import pytest
from switchyard.v1 import generation_pb2

import faults
import harness


def test_sigterm_under_load_finishes_what_was_taken(tmp_path):
    """Endless requests hold every place until the drain has begun, so that it finds as many others as were sent."""
    with harness.Server(tmp_path, "--ranks", "2", "--drain-timeout", "10m", "--max-running-requests", "4", *harness.ROOM,
                        model=harness.long_model(tmp_path)) as server:
        expected = faults.complete(server, "In the beginning", max_tokens=300).json()["choices"][0]["text"]
        holders = [endless(server) for _ in range(4)]
        for holder in holders:
            next(holder)
        with concurrent.futures.ThreadPoolExecutor(24) as pool:
            replies = [pool.submit(faults.complete, server, "In the beginning", max_tokens=300) for _ in range(24)]
            harness.wait_until(lambda: server.metric("switchyard:num_requests_waiting") == 24, "requests wait")
            server.terminate()
            harness.wait_until(lambda: server.get("/ready").status_code == 503, "the drain has begun")
            assert faults.complete(server, "too late").status_code == 503
            for holder in holders:
                holder.cancel()
            for reply in replies:
                answer = reply.result()
                assert answer.status_code == 200 and answer.json()["choices"][0]["text"] == expected
        assert server.wait() == 0, server.log()


@contextlib.contextmanager
def two_processes(tmp_path, *flags):
    port = harness.free_port()
    follower_dir = tmp_path / "follower"
    follower_dir.mkdir()
    model = harness.long_model(tmp_path)
    follower = harness.Process(follower_dir, "serve", "--model", model, *flags,
                               environment=harness.launcher_environment(1, 2, port))
    with follower:
        with harness.Server(tmp_path, *flags, model=model, environment=harness.launcher_environment(0, 2, port)) as server:
            yield server, follower


def endless(server):
    return server.stub.Generate(generation_pb2.GenerateRequest(
        text="In the beginning", stop=generation_pb2.StopParams(max_tokens=harness.ENDLESS_TOKENS, ignore_eos=True)),
        timeout=harness.PATIENCE)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP], ids=["killed", "stopped"])
def test_a_lost_rank_is_named_within_seconds(tmp_path, number):
    with two_processes(tmp_path, *harness.ROOM, "--rank-timeout", "5s", "--collective-timeout", "10m") as pair:
        server, follower = pair
        stream = endless(server)
        next(stream)
        follower.signal(number)
        with pytest.raises(grpc.RpcError) as lost:
            for _ in stream:
                pass
        assert lost.value.code() == grpc.StatusCode.UNAVAILABLE and "rank 1" in lost.value.details()
        assert server.wait() == 1, server.log()
        if number == signal.SIGSTOP:
            follower.signal(signal.SIGCONT)
            assert follower.wait() != 0


def test_ranks_of_another_model_are_refused_by_name(tmp_path):
    other = tmp_path / "other"
    shutil.copytree(harness.MODEL, other)
    config = json.loads((other / "config.json").read_text())
    config["rope_theta"] = 20000.0
    (other / "config.json").write_text(json.dumps(config))
    port = harness.free_port()
    leader_dir = tmp_path / "leader"
    leader_dir.mkdir()
    with harness.Process(leader_dir, "serve", "--model", harness.MODEL, "--http", "127.0.0.1:0", "--grpc", "127.0.0.1:0",
                         environment=harness.launcher_environment(0, 2, port)) as leader:
        follower = harness.run("serve", "--model", other, environment=harness.launcher_environment(1, 2, port))
        assert follower.returncode != 0
        assert leader.wait() != 0
        assert "config.json" in leader.log() and "config.json" in follower.stderr


def poisoned_model(directory, token):
    """The bundled model with NaN as one token's embedding."""
    shutil.copytree(harness.MODEL, directory)
    index = json.loads((directory / "model.safetensors.index.json").read_text())
    shard = directory / index["weight_map"]["model.embed_tokens.weight"]
    data = bytearray(shard.read_bytes())
    (length,) = struct.unpack("<Q", data[:8])
    entry = json.loads(data[8:8 + length])["model.embed_tokens.weight"]
    assert entry["dtype"] == "BF16"
    width = entry["shape"][1]
    begin = 8 + length + entry["data_offsets"][0] + token * width * 2
    data[begin:begin + width * 2] = b"\xc0\x7f" * width
    shard.write_bytes(data)
    return directory


@pytest.mark.parametrize("flags", [[], ["--exchange", "all_gather"], ["--attention", "tensor-parallel"],
                                   ["--quantize", "int4", "--activations", "int8"]], ids=" ".join)
def test_nan_fails_the_one_request_that_it_belongs_to(tmp_path, flags):
    token = 1234
    model = poisoned_model(tmp_path / "model", token)
    with harness.Server(tmp_path, "--ranks", "2", "--served-model-name", harness.NAME, *flags, model=model) as server:
        healthy = [5, 6, 7, 8, 9, 10]
        expected = faults.complete(server, healthy, max_tokens=24).json()["choices"][0]["text"]
        with concurrent.futures.ThreadPoolExecutor(12) as pool:
            good = [pool.submit(faults.complete, server, healthy, max_tokens=24) for _ in range(8)]
            bad = [pool.submit(faults.complete, server, [5, token, 7], max_tokens=24) for _ in range(4)]
        for reply in bad:
            assert reply.result().status_code == 500 and "not numbers" in reply.result().json()["error"]["message"]
        for reply in good:
            assert reply.result().status_code == 200 and reply.result().json()["choices"][0]["text"] == expected
        harness.wait_until(lambda: server.metric("switchyard:kv_pages_used") == 0, "all KV pages have returned")
        assert server.get("/ready").status_code == 200


@contextlib.contextmanager
def small_disk(directory, size):
    directory.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", directory], capture_output=True)
    if mounted.returncode != 0:
        pytest.skip("mounting a small file system needs root")
    try:
        yield directory
    finally:
        subprocess.run(["umount", directory], check=True)


def test_a_full_disk_ends_quantize_with_its_name(tmp_path):
    with small_disk(tmp_path / "disk", "1m") as disk:
        done = harness.run("quantize", "--model", harness.MODEL, "--out", disk / "out", "--format", "nf4")
        assert done.returncode != 0
        assert str(disk) in done.stderr and "GB left" in done.stderr


def test_a_full_disk_under_the_access_log_does_not_stop_the_service(tmp_path):
    with small_disk(tmp_path / "disk", "64k") as disk:
        with harness.Server(tmp_path, "--access-log", disk / "access.log") as server:
            for _ in range(400):
                assert server.get("/v1/models").status_code == 200
            assert faults.complete(server, "hello").status_code == 200


def test_no_file_descriptors_left(tmp_path):
    def limited():
        resource.setrlimit(resource.RLIMIT_NOFILE, (80, 80))

    with harness.Server(tmp_path, preexec_fn=limited) as server:
        expected = faults.complete(server, "hello").json()["choices"][0]["text"]
        crowd = []
        for _ in range(200):
            with contextlib.suppress(OSError):
                crowd.append(faults.connect(server))
        cpu_before = cpu_seconds(server.process.pid)
        time.sleep(2)
        assert cpu_seconds(server.process.pid) - cpu_before < 1.0, "accept is tried again and again"
        for connection in crowd:
            connection.close()
        reply = harness.wait_until(lambda: try_complete(server), "the server answers again")
        assert reply.json()["choices"][0]["text"] == expected


def try_complete(server):
    try:
        return faults.complete(server, "hello")
    except httpx.TransportError:
        return None


def cpu_seconds(pid):
    with open(f"/proc/{pid}/stat") as stat:
        fields = stat.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
