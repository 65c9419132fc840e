import json

import pytest

import harness


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    """The bundled model on two ranks, shared by all tests that leave it as they found it."""
    with harness.Server(tmp_path_factory.mktemp("server"), "--ranks", "2") as running:
        yield running
        assert running.process.poll() is None, running.log()


@pytest.fixture(scope="session")
def long_server(tmp_path_factory):
    """The same with a context in which endless() does not end."""
    directory = tmp_path_factory.mktemp("long-server")
    with harness.Server(directory, "--ranks", "2", *harness.ROOM, model=harness.long_model(directory)) as running:
        yield running
        assert running.process.poll() is None, running.log()


@pytest.fixture(scope="session")
def golden():
    return json.loads((harness.MODEL / "golden.json").read_text())
