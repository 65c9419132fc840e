"""Prompts made to get at what others have computed, and to fill the prefix cache."""

import concurrent.futures
import itertools
import random

import httpx
import pytest

import harness

PAGE = 16
salts = itertools.count()


def ask(server, prompt, salt, expected=200):
    reply = httpx.post(f"{server.url}/v1/completions", timeout=harness.PATIENCE,
                       json={"model": harness.NAME, "prompt": prompt, "max_tokens": 6, "temperature": 0, "logprobs": 1,
                             "ignore_eos": True, "cache_salt": salt})
    assert reply.status_code == expected, reply.text
    return reply.json()


def fresh():
    return f"nobody else's {next(salts)}"


def cached(reply):
    return reply["usage"]["prompt_tokens_details"]["cached_tokens"]


def common_pages(a, b):
    """Tokens of `b` that a server may have from `a`: whole pages, and never the last two tokens."""
    same = next((i for i, (x, y) in enumerate(zip(a, b)) if x != y), min(len(a), len(b)))
    return min(same, len(b) - 2) // PAGE * PAGE


def lookalikes(victim):
    pages = [victim[i:i + PAGE] for i in range(0, len(victim), PAGE)]
    yield "pages in another order", sum(reversed(pages), [])
    yield "a page left out", sum(pages[:2] + pages[3:], [])
    yield "a page twice", sum(pages[:2] + pages[1:], [])
    yield "one token further on", [7] + victim
    yield "without the first token", victim[1:]
    for page in range(3):
        changed = list(victim)
        changed[page * PAGE + PAGE - 1] += 1
        yield f"the last token of page {page} is another", changed
    yield "only the beginning", victim[:PAGE + 3]
    yield "and more", victim + [3, 4, 5]


def test_lookalikes_of_a_prompt_get_their_own_answers(attacked):
    random.seed(4)
    victim = [random.randrange(5, 2000) for _ in range(5 * PAGE)]
    shared = fresh()
    alone = ask(attacked, victim, fresh())["choices"][0]["text"]
    assert ask(attacked, victim, shared)["choices"][0]["text"] == alone
    for name, prompt in lookalikes(victim):
        expected = ask(attacked, prompt, fresh())
        salt = fresh()
        ask(attacked, victim, salt)
        got = ask(attacked, prompt, salt)
        assert cached(expected) == 0, name
        # Two ranks, and beside the bystander one may have too little room to go where the pages are.
        assert cached(got) in (0, common_pages(victim, prompt)), name
        assert got["choices"][0]["text"] == expected["choices"][0]["text"], name
        assert got["choices"][0]["logprobs"]["token_logprobs"] == pytest.approx(
            expected["choices"][0]["logprobs"]["token_logprobs"], abs=1e-4), name
    assert ask(attacked, victim, shared)["choices"][0]["text"] == alone


def test_a_flood_of_salts_and_prompts_finds_nothing(attacked):
    def send(i):
        return cached(ask(attacked, [5 + (i + j) % 1500 for j in range(200)], "s" * 240 + str(i)))

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        assert set(pool.map(send, range(120))) == {0}


def test_a_salt_without_end_is_refused(attacked):
    reply = ask(attacked, [5, 6, 7], "s" * 257, expected=400)
    assert "cache_salt" in reply["error"]["message"] and "256" in reply["error"]["message"]


def test_requests_that_fail_on_purpose_do_not_make_others_compute_again(attacked):
    """Every token forbidden: a request's own fault, which says nothing about the pages it shares."""
    salt = fresh()
    prompt = [9 + i % 70 for i in range(6 * PAGE)]
    ask(attacked, prompt + [1, 2], salt)
    reply = httpx.post(f"{attacked.url}/v1/completions", timeout=harness.PATIENCE,
                       json={"model": harness.NAME, "prompt": prompt + [3, 4], "max_tokens": 4, "min_tokens": 4,
                             "allowed_token_ids": [2], "cache_salt": salt})
    assert reply.status_code >= 400, reply.text
    assert cached(ask(attacked, prompt + [5, 6], salt)) in (0, len(prompt))
