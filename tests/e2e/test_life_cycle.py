"""Start-up, drain, and the banner's lines as pasted."""

import re
import signal
import subprocess
import sys

import grpc
import httpx
import openai
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

import harness
from test_grpc import code_of, endless, merge, request_for
from test_openai_sdk import endless_completion


def test_sigterm_lets_requests_finish_and_refuses_new_ones(tmp_path):
    """Two endless streams, which go on, and one request that waits for their places, which is served to its end."""
    with harness.Server(tmp_path, "--ranks", "2", "--drain-timeout", "10m", "--max-running-requests", "2", *harness.ROOM,
                        model=harness.long_model(tmp_path)) as server:
        client = server.openai()
        assert server.get("/ready").status_code == 200
        http_stream = endless_completion(server)
        grpc_stream = server.stub.Generate(endless())
        chunks = iter(http_stream)
        next(chunks), next(grpc_stream)
        waiting = server.stub.Generate(request_for(text="In the beginning", max_tokens=20))
        harness.wait_until(lambda: server.metric("switchyard:num_requests_waiting") == 1, "one request waits")
        server.terminate()
        harness.wait_until(lambda: server.get("/ready").status_code == 503, "/ready says 503")
        with pytest.raises(openai.InternalServerError) as refused:
            client.completions.create(model=harness.NAME, prompt="hello")
        assert refused.value.status_code == 503
        assert code_of(server.stub.Generate(request_for(text="hello"))) == grpc.StatusCode.UNAVAILABLE
        health = health_pb2_grpc.HealthStub(server.channel)
        harness.wait_until(lambda: health.Check(health_pb2.HealthCheckRequest()).status ==
                           health_pb2.HealthCheckResponse.NOT_SERVING, "health is NOT_SERVING")
        # What comes after all that was generated until now was generated during the drain.
        so_far = int(server.metric("switchyard:generation_tokens_total"))
        for _ in range(so_far + 1):
            assert next(chunks).choices[0].finish_reason is None
            assert not next(grpc_stream).HasField("finish")
        http_stream.close()
        grpc_stream.cancel()
        assert merge(waiting).usage.completion_tokens == 20
        assert server.wait() == 0, server.log()


def test_requests_beyond_the_drain_timeout_are_ended_and_reported(tmp_path):
    with harness.Server(tmp_path, "--drain-timeout", "0s", *harness.ROOM, model=harness.long_model(tmp_path)) as server:
        stream = server.stub.Generate(endless())
        next(stream)
        server.terminate()
        assert code_of(stream) in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)
        assert server.wait() == 1
        assert "not all requests finished" in server.log()


def test_a_second_signal_quits_at_once(tmp_path):
    with harness.Server(tmp_path, "--drain-timeout", "10m", *harness.ROOM, model=harness.long_model(tmp_path)) as server:
        stream = server.stub.Generate(endless())
        next(stream)
        server.signal(signal.SIGINT)
        harness.wait_until(lambda: "draining" in server.log(), "the drain has begun")
        server.signal(signal.SIGINT)
        assert server.wait() == 128 + signal.SIGINT


def test_an_idle_server_ends_well(tmp_path):
    with harness.Server(tmp_path) as server:
        server.terminate()
        assert server.wait() == 0, server.log()


def test_the_banners_lines_work_when_pasted(tmp_path):
    with harness.Server(tmp_path, "--ranks", "2", "--served-model-name", "it's \"tiny\"") as server:
        banner = harness.wait_until(lambda: "Ctrl-C" in server.output() and server.output(), "the banner")
        curl = re.search(r"^curl .*$", banner, re.MULTILINE).group()
        answer = subprocess.run(["bash", "-c", curl], capture_output=True, text=True, timeout=harness.PATIENCE)
        assert "19" in answer.stdout, answer
        snippet = re.search(r"^from openai.*?^print.*?$", banner, re.MULTILINE | re.DOTALL).group()
        answer = subprocess.run([sys.executable, "-c", snippet], capture_output=True, text=True, timeout=harness.PATIENCE)
        assert answer.stdout.strip() == "19", answer
        page = httpx.get(re.search(r"^ *playground (\S+)", banner, re.MULTILINE)[1], timeout=harness.PATIENCE)
        assert page.status_code == 200 and page.headers["content-type"].startswith("text/html")


def test_a_taken_port_is_an_error_that_names_it(tmp_path, server):
    for flag, address in (("--http", server.url.removeprefix("http://")), ("--grpc", server.grpc_address)):
        taken = harness.run("serve", "--model", harness.MODEL, "--http", "127.0.0.1:0", "--grpc", "127.0.0.1:0", flag,
                            address)
        assert taken.returncode == 1
        assert flag in taken.stderr and address in taken.stderr


def test_metrics_wear_vllms_prefix_on_demand(tmp_path):
    with harness.Server(tmp_path, "--metrics-alias", "vllm") as server:
        for prefix in ("switchyard", "vllm"):
            assert server.metric(f"{prefix}:num_requests_running") == 0
        assert server.get("/version").status_code == 200
