"""POST /v1/completions, sentence by sentence of API.md."""

import math

import pytest

import harness

PROMPT = "In the beginning"


def text_of(reply, choice=0):
    return reply["choices"][choice]["text"]


def tokens_of(post, text, special=False):
    return post("/tokenize", {"prompt": text, "add_special_tokens": special})["tokens"]


def test_shape(complete):
    reply = complete(prompt=PROMPT, max_tokens=4)
    assert reply["object"] == "text_completion" and reply["model"] == harness.NAME and reply["id"].startswith("cmpl-")
    assert reply["usage"]["total_tokens"] == reply["usage"]["prompt_tokens"] + reply["usage"]["completion_tokens"]
    assert reply["choices"][0]["finish_reason"] == "length"


def cached_of(reply):
    return reply["usage"]["prompt_tokens_details"]["cached_tokens"]


def test_a_prompt_that_was_there_before_is_cached(complete, server):
    prompt = [5 + i % 50 for i in range(101)]
    before = server.metric("switchyard:prefix_cache_hits_total"), server.metric("switchyard:prefix_cache_queries_total")
    first, again = (complete(prompt=prompt, max_tokens=8, logprobs=2) for _ in range(2))
    assert (cached_of(first), cached_of(again)) == (0, 96)
    assert text_of(again) == text_of(first)
    assert again["choices"][0]["logprobs"] == first["choices"][0]["logprobs"]
    assert server.metric("switchyard:prefix_cache_hits_total") == before[0] + 96
    assert server.metric("switchyard:prefix_cache_queries_total") == before[1] + 202


def test_only_prompts_of_one_salt_share_what_is_cached(complete):
    prompt = [9 + i % 40 for i in range(70)]
    salts = ("a", "b", "a", None)
    replies = [complete(prompt=prompt, max_tokens=4, **({"cache_salt": salt} if salt else {})) for salt in salts]
    assert [cached_of(reply) for reply in replies] == [0, 0, 64, 0]
    assert len({text_of(reply) for reply in replies}) == 1


def test_choices_of_a_prompt_are_not_cached_by_each_other(complete):
    reply = complete(prompt=[13 + i % 30 for i in range(60)], n=4, max_tokens=2, temperature=1)
    assert cached_of(reply) == 0


def test_log_probabilities_of_a_cached_prompt_are_the_same_bits(complete):
    prompt = [17 + i % 60 for i in range(90)]
    fields = {"prompt": prompt, "echo": True, "logprobs": 1, "max_tokens": 1}
    first = complete(**fields)
    complete(prompt=prompt, max_tokens=4)
    again = complete(**fields)
    assert cached_of(again) == 0
    assert again["choices"][0]["logprobs"] == first["choices"][0]["logprobs"]


def test_sixteen_tokens_are_the_default(complete):
    assert complete(prompt=PROMPT)["usage"]["completion_tokens"] == 16


def test_token_ids_are_a_prompt_and_batches_are_lists_of_either(complete, post):
    ids = tokens_of(post, PROMPT, special=True)
    alone = text_of(complete(prompt=PROMPT, max_tokens=8))
    assert text_of(complete(prompt=ids, max_tokens=8)) == alone
    strings = complete(prompt=[PROMPT, "To be, or"], max_tokens=8)
    assert [choice["index"] for choice in strings["choices"]] == [0, 1]
    assert text_of(strings) == alone
    lists = complete(prompt=[ids, tokens_of(post, "To be, or", special=True)], max_tokens=8)
    assert [choice["text"] for choice in lists["choices"]] == [choice["text"] for choice in strings["choices"]]


@pytest.mark.parametrize("n", [2, 5])
def test_n_choices_per_prompt(complete, n):
    reply = complete(prompt=[PROMPT, "hello"], n=n, temperature=1, seed=3, max_tokens=6)
    assert [choice["index"] for choice in reply["choices"]] == list(range(2 * n))
    assert len({choice["text"] for choice in reply["choices"][:n]}) > 1


def test_best_of_returns_the_likeliest_of_its_candidates(complete):
    fields = {"prompt": PROMPT, "temperature": 1, "seed": 11, "max_tokens": 6, "logprobs": 0}

    def mean(choice):
        scores = choice["logprobs"]["token_logprobs"]
        return sum(scores) / len(scores)

    candidates = complete(**fields, n=4)["choices"]
    best = complete(**fields, n=1, best_of=4)["choices"]
    assert len(best) == 1
    assert best[0]["text"] == max(candidates, key=mean)["text"]


@pytest.mark.parametrize("top", [0, 1, 5, 20])
def test_logprobs(complete, top):
    logprobs = complete(prompt=PROMPT, max_tokens=4, logprobs=top)["choices"][0]["logprobs"]
    assert len(logprobs["tokens"]) == len(logprobs["token_logprobs"]) == len(logprobs["text_offset"]) == 4
    for token, value, candidates in zip(logprobs["tokens"], logprobs["token_logprobs"], logprobs["top_logprobs"]):
        assert value <= 0 and candidates[token] == value
        assert max(1, top) <= len(candidates) <= top + 1
        assert sum(math.exp(score) for score in candidates.values()) <= 1.0001


def test_text_offsets_point_into_the_text(complete):
    choice = complete(prompt=PROMPT, max_tokens=8, logprobs=0)["choices"][0]
    for token, offset in zip(choice["logprobs"]["tokens"], choice["logprobs"]["text_offset"]):
        assert choice["text"][offset:offset + len(token)] == token


def test_echo_repeats_the_prompt_and_scores_it(complete):
    choice = complete(prompt=PROMPT, max_tokens=0, echo=True, logprobs=1)["choices"][0]
    assert choice["text"] == PROMPT
    scores = choice["logprobs"]["token_logprobs"]
    assert scores[0] is None and all(score <= 0 for score in scores[1:])
    for token, score, candidates in list(zip(choice["logprobs"]["tokens"], scores, choice["logprobs"]["top_logprobs"]))[1:]:
        assert candidates[token] == score  # bit for bit: a harness compares with ==


def test_echoed_scores_are_those_of_generation(complete, post):
    generated = complete(prompt=PROMPT, max_tokens=6, logprobs=0, return_token_ids=True)["choices"][0]
    ids = tokens_of(post, PROMPT, special=True) + generated["token_ids"]
    echoed = complete(prompt=ids, max_tokens=0, echo=True, logprobs=0)["choices"][0]
    for one, other in zip(generated["logprobs"]["token_logprobs"], echoed["logprobs"]["token_logprobs"][-6:]):
        assert abs(one - other) < 1e-3


def test_prompt_logprobs(complete):
    entries = complete(prompt=PROMPT, max_tokens=1, prompt_logprobs=2)["choices"][0]["prompt_logprobs"]
    assert entries[0] is None
    assert all(2 <= len(entry) <= 3 for entry in entries[1:])


@pytest.mark.parametrize("length", [1, 2, 3, 5, 9])
def test_a_stop_string_ends_the_text_wherever_tokens_end(complete, length):
    whole = text_of(complete(prompt=PROMPT, max_tokens=24))
    stop = whole[7:7 + length]
    reply = complete(prompt=PROMPT, max_tokens=24, stop=stop)
    assert text_of(reply) == whole[:whole.index(stop)]
    assert reply["choices"][0]["finish_reason"] == "stop" and reply["choices"][0]["stop_reason"] == stop


def test_four_stop_strings_and_the_first_that_comes_counts(complete):
    whole = text_of(complete(prompt=PROMPT, max_tokens=24))
    stops = [whole[12:15], whole[5:8], "zzzz", "qqqq"]
    assert text_of(complete(prompt=PROMPT, max_tokens=24, stop=stops)) == whole[:min(whole.index(s) for s in stops[:2])]


def test_include_stop_str_in_output(complete):
    whole = text_of(complete(prompt=PROMPT, max_tokens=24))
    stop = whole[7:10]
    text = text_of(complete(prompt=PROMPT, max_tokens=24, stop=stop, include_stop_str_in_output=True))
    assert text == whole[:whole.index(stop) + len(stop)]


def test_stop_token_ids(complete):
    ids = complete(prompt=PROMPT, max_tokens=8, return_token_ids=True)["choices"][0]["token_ids"]
    reply = complete(prompt=PROMPT, max_tokens=8, stop_token_ids=[ids[4]], return_token_ids=True)["choices"][0]
    assert reply["finish_reason"] == "stop" and reply["stop_reason"] == ids[4]
    assert len(reply["token_ids"]) == ids.index(ids[4]) + 1


def test_min_tokens_and_ignore_eos(post):
    chat = {"model": harness.NAME, "messages": [{"role": "user", "content": "What is 12 + 7?"}], "temperature": 0}
    plain = post("/v1/chat/completions", {**chat, "max_tokens": 64})
    assert plain["choices"][0]["finish_reason"] == "stop"
    used = plain["usage"]["completion_tokens"]
    longer = post("/v1/chat/completions", {**chat, "max_tokens": 64, "min_tokens": used + 5})
    assert longer["usage"]["completion_tokens"] >= used + 5
    assert post("/v1/chat/completions", {**chat, "max_tokens": 40, "ignore_eos": True})["usage"]["completion_tokens"] == 40


def test_the_same_seed_gives_the_same_text_and_another_one_another(complete):
    texts = [text_of(complete(prompt=PROMPT, temperature=1, seed=seed, max_tokens=24)) for seed in (5, 5, 6)]
    assert texts[0] == texts[1] != texts[2]


@pytest.mark.parametrize("fields", [{"top_k": 1}, {"top_p": 1e-6}, {"min_p": 1.0}], ids=str)
def test_filters_that_leave_one_token_are_greedy(complete, fields):
    greedy = text_of(complete(prompt=PROMPT, max_tokens=12))
    assert text_of(complete(prompt=PROMPT, max_tokens=12, temperature=1, seed=9, **fields)) == greedy


def test_logit_bias_forbids_and_forces(complete, post):
    ids = complete(prompt=PROMPT, max_tokens=4, return_token_ids=True)["choices"][0]["token_ids"]
    without = complete(prompt=PROMPT, max_tokens=4, return_token_ids=True, logit_bias={str(ids[0]): -100})
    assert without["choices"][0]["token_ids"][0] != ids[0]
    forced = complete(prompt=PROMPT, max_tokens=4, return_token_ids=True, logit_bias={"300": 100})
    assert forced["choices"][0]["token_ids"] == [300] * 4


@pytest.mark.parametrize("penalty", [{"presence_penalty": 2}, {"frequency_penalty": 2}, {"repetition_penalty": 5}], ids=str)
def test_penalties_end_a_repetition(complete, penalty):
    def ids(bias, **fields):
        reply = complete(prompt=PROMPT, max_tokens=8, return_token_ids=True, logit_bias={"300": bias}, **fields)
        return set(reply["choices"][0]["token_ids"])

    # The least bias that repeats one token is too little against a penalty.
    bias = next(step / 2 for step in range(100) if ids(step / 2) == {300})
    assert ids(bias, **penalty) != {300}


def test_allowed_token_ids(complete):
    allowed = [300, 301, 302]
    reply = complete(prompt=PROMPT, max_tokens=6, temperature=1, seed=1, allowed_token_ids=allowed, return_token_ids=True,
                     ignore_eos=True)
    assert set(reply["choices"][0]["token_ids"]) <= set(allowed)


def test_bad_words(complete):
    whole = text_of(complete(prompt=PROMPT, max_tokens=16))
    word = next(word for word in whole.split() if len(word) > 2)
    assert word not in text_of(complete(prompt=PROMPT, max_tokens=16, bad_words=[word])).split()


def test_truncate_prompt_tokens_keeps_the_end(complete, post):
    ids = tokens_of(post, "one two three four five six", special=True)
    short = complete(prompt=ids, truncate_prompt_tokens=4, max_tokens=5)
    assert short["usage"]["prompt_tokens"] == 4
    assert text_of(short) == text_of(complete(prompt=ids[-4:], max_tokens=5))


def test_return_token_ids(complete, post):
    choice = complete(prompt=PROMPT, max_tokens=5, return_token_ids=True)["choices"][0]
    assert choice["prompt_token_ids"] == tokens_of(post, PROMPT, special=True)
    assert len(choice["token_ids"]) == 5


def test_add_special_tokens_false_leaves_the_beginning_out(complete, post):
    choice = complete(prompt=PROMPT, max_tokens=1, return_token_ids=True, add_special_tokens=False)["choices"][0]
    assert choice["prompt_token_ids"] == tokens_of(post, PROMPT)


def test_request_id_names_the_answer(complete):
    assert complete(prompt=PROMPT, max_tokens=1, request_id="mine")["id"] == "cmpl-mine"


# Streams

def test_a_stream_is_the_whole_answer_in_pieces(complete, events):
    body = {"prompt": PROMPT, "max_tokens": 12}
    chunks = events("/v1/completions", body)
    assert "".join(chunk["choices"][0]["text"] for chunk in chunks) == text_of(complete(**body))
    assert len({(chunk["id"], chunk["created"], chunk["model"], chunk["object"]) for chunk in chunks}) == 1
    assert [chunk["choices"][0]["finish_reason"] for chunk in chunks].count("length") == 1
    assert len(chunks) == 12 + 1 and all("usage" not in chunk for chunk in chunks)


def test_usage_comes_in_a_chunk_of_its_own(events):
    chunks = events("/v1/completions", {"prompt": PROMPT, "max_tokens": 5, "stream_options": {"include_usage": True}})
    assert chunks[-1]["choices"] == [] and chunks[-1]["usage"]["completion_tokens"] == 5
    assert all(chunk["usage"] is None for chunk in chunks[:-1])


def test_continuous_usage(events):
    chunks = events("/v1/completions", {"prompt": PROMPT, "max_tokens": 5, "stream_options":
                                        {"include_usage": True, "continuous_usage_stats": True}})
    counts = [chunk["usage"]["completion_tokens"] for chunk in chunks]
    assert counts == sorted(counts) and counts[-1] == 5


def test_a_stop_string_never_leaks_its_beginning(complete, events):
    whole = text_of(complete(prompt=PROMPT, max_tokens=24))
    stop = whole[9:14]
    chunks = events("/v1/completions", {"prompt": PROMPT, "max_tokens": 24, "stop": stop})
    text = ""
    for chunk in chunks:
        text += chunk["choices"][0]["text"]
        assert whole[:whole.index(stop)].startswith(text)
    assert text == whole[:whole.index(stop)]


def test_no_chunk_has_half_a_character(complete, post, events):
    """Bytes of characters that are no tokens of their own, in random order: some complete, some broken."""
    byte_ids = sorted({token for token in tokens_of(post, "🙂日é🙂本") if len(tokens_of(post, "🙂日é🙂本")) > 5})
    body = {"prompt": PROMPT, "max_tokens": 48, "temperature": 1, "seed": 2, "ignore_eos": True,
            "logit_bias": {str(token): 60 for token in byte_ids}}
    pieces = [chunk["choices"][0]["text"] for chunk in events("/v1/completions", body)]
    assert "".join(pieces) == text_of(complete(**body))


def test_several_streamed_choices_keep_apart(complete, events):
    body = {"prompt": [PROMPT, "hello"], "n": 2, "max_tokens": 6, "temperature": 1, "seed": 4}
    texts = [""] * 4
    for chunk in events("/v1/completions", body):
        texts[chunk["choices"][0]["index"]] += chunk["choices"][0]["text"]
    assert texts == [choice["text"] for choice in complete(**body)["choices"]]


def test_streamed_echo_and_logprobs(complete, events):
    body = {"prompt": PROMPT, "max_tokens": 4, "echo": True, "logprobs": 1}
    scores = []
    text = ""
    for chunk in events("/v1/completions", body):
        text += chunk["choices"][0]["text"]
        if chunk["choices"][0]["logprobs"]:
            scores += chunk["choices"][0]["logprobs"]["token_logprobs"]
    whole = complete(**body)["choices"][0]
    assert text == whole["text"] and scores == whole["logprobs"]["token_logprobs"]
