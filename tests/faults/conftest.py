import threading

import pytest

import faults
import harness

# Limits so short that what should end does so within the test, and so long that a client who is held up by this machine
# keeps them. The KV cache holds one faults.LONG_ANSWER on each rank.
FLAGS = ["--ranks", "2", "--http-header-timeout", "8s", "--http-body-timeout", "8s", "--http-idle-timeout", "8s",
         "--http-write-timeout", "8s", "--http-max-body-size", "2MiB", "--max-queued-requests", "64",
         "--max-running-requests", "8", "--max-model-len", "32000", "--kv-cache", "128MiB"]
MEMORY_BOUND = 256 * 2**20  # bytes that an attack may add to what the server holds


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    """One server for all attacks on a healthy process: none may leave a trace that the next one meets. In the context of
    its model there is room for answers of faults.LONG_ANSWER tokens."""
    directory = tmp_path_factory.mktemp("server")
    with harness.Server(directory, *FLAGS, model=harness.long_model(directory)) as running:
        faults.warm_up(running)
        yield running
        assert running.process.poll() is None, running.log()


@pytest.fixture
def attacked(server):
    """The server under attack: meanwhile well-behaved requests run, and afterwards all is as before."""
    before = faults.resident_bytes(server.process.pid)
    peak = [before]
    stop = threading.Event()
    bystander = faults.Bystander(server)

    def watch():
        while not stop.wait(0.05):
            peak[0] = max(peak[0], faults.resident_bytes(server.process.pid))

    watcher = threading.Thread(target=watch)
    watcher.start()
    bystander.start()
    try:
        yield server
    finally:
        stop.set()
        watcher.join()
        bystander.finish()
    assert bystander.num_requests > 0
    assert bystander.wrong == [], bystander.wrong[0]
    harness.wait_until(lambda: server.metric("switchyard:kv_pages_used") == 0, "all KV pages have returned")
    harness.wait_until(lambda: server.metric("switchyard:num_requests_running") == 0, "nothing runs")
    assert peak[0] - before < MEMORY_BOUND, f"{(peak[0] - before) / 2**20:.0f} MiB more than before"
