import json

import openai
import pytest

import harness


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    """The bundled model on two ranks, shared by all checks."""
    with harness.Server(tmp_path_factory.mktemp("server"), "--ranks", "2") as running:
        yield running
        assert running.process.poll() is None, running.log()
        # Whatever the checks did, nothing of it is left.
        harness.wait_until(lambda: running.metric("switchyard:kv_pages_used") == 0, "all KV pages have returned")


@pytest.fixture(scope="session")
def client(server):
    return openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0, timeout=harness.PATIENCE)


@pytest.fixture(scope="session")
def post(server):
    """POST of a JSON body; the reply, parsed, with its status."""
    import httpx

    def send(path, body, expected=200):
        content = body if isinstance(body, (str, bytes)) else json.dumps(body)
        reply = httpx.post(server.url + path, content=content, headers={"Content-Type": "application/json"},
                           timeout=harness.PATIENCE)
        assert reply.status_code == expected, reply.text
        return reply.json()

    return send


@pytest.fixture(scope="session")
def complete(post):
    def ask(**fields):
        return post("/v1/completions", {"model": harness.NAME, "temperature": 0, **fields})

    return ask


@pytest.fixture(scope="session")
def chat(post):
    def ask(content="What is 12 + 7?", **fields):
        messages = content if isinstance(content, list) else [{"role": "user", "content": content}]
        return post("/v1/chat/completions", {"model": harness.NAME, "temperature": 0, "messages": messages, **fields})

    return ask


@pytest.fixture(scope="session")
def events(server):
    """The events of a stream, parsed; the raw text must end with [DONE]."""
    import httpx

    def read(path, body, done=True):
        reply = httpx.post(server.url + path, json={"model": harness.NAME, "temperature": 0, "stream": True, **body},
                           timeout=harness.PATIENCE)
        assert reply.status_code == 200, reply.text
        assert reply.headers["content-type"].startswith("text/event-stream")
        pieces = reply.text.split("\n\n")
        assert pieces.pop() == ""
        assert all(piece.startswith("data: ") and "\n" not in piece for piece in pieces)
        data = [piece.removeprefix("data: ") for piece in pieces]
        if done:
            assert data.pop() == "[DONE]"
        return [json.loads(piece) for piece in data]

    return read
