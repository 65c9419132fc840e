"""Giant, endless, slow and malformed HTTP."""

import concurrent.futures
import socket
import time

import httpx
import pytest

import faults
import harness


def exchange(server, data):
    with faults.connect(server) as connection:
        faults.send_ignoring_refusal(connection, data)
        return faults.reply_of(connection)


def test_a_giant_header_line(attacked):
    status, _ = exchange(attacked, b"GET /health HTTP/1.1\r\nHost: x\r\nX-Giant: " + b"a" * 2**20 + b"\r\n\r\n")
    assert status in (431, 400)


def test_endless_header_lines(attacked):
    with faults.connect(attacked) as connection:
        faults.send_ignoring_refusal(connection, b"GET /health HTTP/1.1\r\nHost: x\r\n")
        for index in range(100_000):
            if not faults.send_ignoring_refusal(connection, b"X-%d: a\r\n" % index):
                break
        # The kernel may have taken all of them; the server has not, or it would wait for more and answer 408.
        assert faults.reply_of(connection)[0] in (431, None)


def test_a_giant_request_line(attacked):
    assert exchange(attacked, b"GET /" + b"a" * 2**20 + b" HTTP/1.1\r\nHost: x\r\n\r\n")[0] in (400, 414, 431)


def test_a_body_that_says_it_is_giant(attacked):
    status, body = exchange(attacked, faults.post_head("/v1/completions", f"Content-Length: {2**40}"))
    assert status == 413 and "error" in body


def test_a_body_whose_length_is_no_number(attacked):
    for length in ("-1", "2e3", "18446744073709551617", "0x10"):
        assert exchange(attacked, faults.post_head("/v1/completions", f"Content-Length: {length}"))[0] in (400, 413, None)


def test_an_endless_chunked_body(attacked):
    chunk = b"10000\r\n" + b"a" * 0x10000 + b"\r\n"
    with faults.connect(attacked) as connection:
        faults.send_ignoring_refusal(connection, faults.post_head("/v1/completions", "Transfer-Encoding: chunked"))
        for _ in range(1024):
            if not faults.send_ignoring_refusal(connection, chunk):
                break
        else:
            pytest.fail("the server took 64 MiB")


def test_a_body_and_a_transfer_encoding(attacked):
    """Request smuggling: two lengths at once."""
    head = faults.post_head("/v1/completions", "Content-Length: 5", "Transfer-Encoding: chunked")
    status, _ = exchange(attacked, head + b"0\r\n\r\nGET /v1/models HTTP/1.1\r\nHost: x\r\n\r\n")
    assert status in (400, None)


@pytest.mark.parametrize("coding", ["xchunked", "gzip, chunked", "chunked, identity", "chunked,chunked", "\x0bchunked"])
def test_a_transfer_encoding_that_nobody_knows(attacked, coding):
    """Smuggling again: a proxy that reads the length sees one request, one that reads the coding sees two."""
    head = faults.post_head("/v1/completions", f"Transfer-Encoding: {coding}", "Content-Length: 5")
    status, body = exchange(attacked, head + b"0\r\n\r\nGET /v1/models HTTP/1.1\r\nHost: x\r\n\r\n")
    assert status in (400, 501, None) and "tiny-mixtral" not in str(body)


def test_an_endless_trailer_and_an_endless_chunk_header(attacked):
    for ending in (b"0\r\n" + b"X-Trailer: " + b"a" * 2**20, b"5;extension=" + b"a" * 2**20):
        head = faults.post_head("/v1/completions", "Transfer-Encoding: chunked")
        assert exchange(attacked, head + ending)[0] in (431, None)


@pytest.mark.parametrize("prompt", ["", [], [[]], [""], ["x", ""], None], ids=str)
def test_an_empty_prompt(attacked, prompt):
    reply = httpx.post(attacked.url + "/v1/completions", json={"prompt": prompt}, timeout=harness.PATIENCE)
    assert reply.status_code == 400 and reply.json()["error"]["param"].startswith("prompt")


@pytest.mark.parametrize("garbage", [b"\x00" * 4096, b"\x16\x03\x01\x02\x00\x01\x00", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
                                     b"GET\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"\r\n" * 10_000, bytes(range(256)) * 16],
                         ids=["zeros", "tls", "http2", "short", "version", "newlines", "bytes"])
def test_garbage(attacked, garbage):
    with faults.connect(attacked) as connection:
        faults.send_ignoring_refusal(connection, garbage)
        connection.shutdown(socket.SHUT_WR)
        status, _ = faults.reply_of(connection)
    assert status is None or 400 <= status < 600


def test_slow_senders_of_headers_are_cut_off(attacked):
    end = time.monotonic() + harness.PATIENCE
    connections = [faults.connect(attacked) for _ in range(50)]
    for connection in connections:
        connection.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: x\r\n")
    open_ones = connections
    while open_ones and time.monotonic() < end:
        time.sleep(0.3)
        open_ones = [connection for connection in open_ones if faults.send_ignoring_refusal(connection, b"X-A: b\r\n")]
    for connection in connections:
        connection.close()
    assert not open_ones, f"{len(open_ones)} of 50 slow senders are still connected"


def test_a_slow_sender_of_a_body_is_cut_off(attacked):
    with faults.connect(attacked) as connection:
        connection.sendall(faults.post_head("/v1/completions", "Content-Length: 2000"))
        end = time.monotonic() + harness.PATIENCE
        while faults.send_ignoring_refusal(connection, b" "):
            assert time.monotonic() < end, "the server waits for the body"
            time.sleep(0.2)


def test_idle_connections_are_closed(attacked):
    with faults.connect(attacked) as connection:
        connection.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
        begin = time.monotonic()
        assert faults.reply_of(connection)[0] == 200  # reads until the server closes, or PATIENCE is over
        assert time.monotonic() - begin < harness.PATIENCE


DEEP = ["[" * 500_000, "{\"a\":" * 200_000, "[" * 100_000 + "]" * 100_000,
        "{\"prompt\":\"x\",\"metadata\":" + "[" * 50_000 + "]" * 50_000 + "}"]


@pytest.mark.parametrize("text", DEEP, ids=["arrays", "objects", "closed", "inside"])
def test_deep_json(attacked, text):
    for path in ("/v1/completions", "/v1/chat/completions", "/tokenize"):
        reply = httpx.post(attacked.url + path, content=text, timeout=harness.PATIENCE)
        assert reply.status_code == 400 and "error" in reply.json()


OUT_OF_RANGE = [
    ("temperature", "NaN"), ("temperature", "Infinity"), ("temperature", "-1"), ("temperature", "1e400"), ("top_p", "NaN"),
    ("max_tokens", "-1"), ("max_tokens", str(2**63)), ("max_tokens", str(2**64)), ("max_tokens", "1e30"), ("seed", str(2**63)),
    ("n", "1000000"), ("n", str(2**63)), ("best_of", "1000000"), ("logprobs", str(2**63)), ("top_k", "-7"),
    ("min_tokens", str(2**63)), ("frequency_penalty", "1e308"), ("repetition_penalty", "0"), ("logit_bias", "{\"5\":1e39}"),
    ("prompt", "\"\""), ("prompt", "[]"), ("prompt", "[[]]"), ("prompt", "[2147483648]"), ("prompt", "[-1]"),
    ("prompt", "[1000000]"), ("stop", "[\"\"]"), ("stop_token_ids", "[99999999]"), ("truncate_prompt_tokens", "-1")]


@pytest.mark.parametrize("field, value", OUT_OF_RANGE)
def test_numbers_out_of_their_range(attacked, field, value):
    fields = {"prompt": '"In the beginning"', field: value}
    text = "{" + ",".join(f'"{name}":{entry}' for name, entry in fields.items()) + "}"
    reply = httpx.post(attacked.url + "/v1/completions", content=text, timeout=harness.PATIENCE)
    assert reply.status_code == 400, reply.text
    assert reply.json()["error"]["message"]


def test_a_giant_stop_list_and_a_giant_logit_bias(attacked):
    assert faults.complete(attacked, "x", stop=["a" * 100_000]).status_code == 400
    assert faults.complete(attacked, "x", stop_token_ids=list(range(3, 500)) * 100).status_code == 400
    assert faults.complete(attacked, "x", logit_bias={str(10**9 + index): 1 for index in range(20_000)}).status_code == 400


def test_many_connections_at_once(attacked):
    def one(_):
        with faults.connect(attacked) as connection:
            connection.sendall(b"GET /health HTTP/1.0\r\n\r\n")
            return faults.reply_of(connection)[0]

    with concurrent.futures.ThreadPoolExecutor(64) as pool:
        assert set(pool.map(one, range(2000))) == {200}
    harness.wait_until(lambda: faults.open_descriptors(attacked.process.pid) < 100, "connections are closed")
