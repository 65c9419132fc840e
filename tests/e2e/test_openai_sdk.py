"""The official OpenAI SDK against the HTTP front end."""

import openai
import pytest

import harness


@pytest.fixture
def client(server):
    return server.openai()


def chat(client, text, **arguments):
    return client.chat.completions.create(model=harness.NAME, messages=[{"role": "user", "content": text}], max_tokens=32,
                                          temperature=0, **arguments)


def test_lists_the_model(client):
    assert [model.id for model in client.models.list()] == [harness.NAME]
    assert client.models.retrieve(harness.NAME).id == harness.NAME


def test_chat_adds(client):
    answer = chat(client, "What is 12 + 7?")
    assert "19" in answer.choices[0].message.content
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage.completion_tokens > 0


def test_chats_are_golden(client, golden):
    for expected in golden["chats"]:
        answer = chat(client, expected["user"])
        assert answer.choices[0].message.content.strip() == expected["answer"].strip()
        assert answer.usage.prompt_tokens == len(expected["prompt_tokens"])
        assert answer.usage.completion_tokens == len(expected["answer_tokens"])


def test_chat_streams_what_it_answers_at_once(client, golden):
    for expected in golden["chats"]:
        chunks = list(chat(client, expected["user"], stream=True, stream_options={"include_usage": True}))
        text = "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices)
        assert text.strip() == expected["answer"].strip()
        assert chunks[0].choices[0].delta.role == "assistant"
        assert chunks[-1].usage.completion_tokens == len(expected["answer_tokens"])
        assert len({chunk.id for chunk in chunks}) == 1


def test_completes_text_and_tokens_alike(client, golden):
    sequence = golden["sequences"][0]
    by_text = client.completions.create(model=harness.NAME, prompt=sequence["text"], max_tokens=8, temperature=0)
    by_tokens = client.completions.create(model=harness.NAME, prompt=sequence["tokens"], max_tokens=8, temperature=0)
    assert by_text.choices[0].text == by_tokens.choices[0].text != ""
    assert by_text.usage.prompt_tokens == len(sequence["tokens"])


def test_completion_streams(client):
    arguments = dict(model=harness.NAME, prompt="In the beginning", max_tokens=24, temperature=0)
    whole = client.completions.create(**arguments).choices[0].text
    pieces = [chunk.choices[0].text for chunk in client.completions.create(**arguments, stream=True) if chunk.choices]
    assert "".join(pieces) == whole
    assert len([piece for piece in pieces if piece]) > 5


def test_stop_string_ends_the_text_before_it(client):
    arguments = dict(model=harness.NAME, prompt="In the beginning", max_tokens=24, temperature=0)
    whole = client.completions.create(**arguments).choices[0].text
    stop = whole[6:9]
    stopped = client.completions.create(**arguments, stop=stop)
    assert stopped.choices[0].text == whole[: whole.index(stop)]
    assert stopped.choices[0].finish_reason == "stop"


def test_same_seed_same_text(client):
    arguments = dict(model=harness.NAME, prompt="KING HENRY:", max_tokens=24, temperature=1)
    first, again, other = (client.completions.create(**arguments, seed=seed).choices[0].text for seed in (7, 7, 8))
    assert first == again != other


def endless_completion(server):
    """For a server of the long model."""
    return server.openai().completions.create(model=harness.NAME, prompt="In the beginning", stream=True,
                                              max_tokens=harness.ENDLESS_TOKENS, extra_body={"ignore_eos": True})


def test_leaving_a_stream_ends_its_request(long_server):
    stream = endless_completion(long_server)
    next(iter(stream))
    assert long_server.metric("switchyard:num_requests_running") >= 1
    stream.close()
    harness.wait_until(lambda: long_server.metric("switchyard:num_requests_running") == 0, "the request has ended")
    assert long_server.metric("switchyard:kv_cache_usage_perc") == 0


@pytest.mark.parametrize("field, value", [("temperature", -1), ("top_p", 2), ("max_tokens", -5), ("prompt", [10**6])])
def test_a_bad_value_is_a_bad_request_that_names_it(client, field, value):
    arguments = dict(model=harness.NAME, prompt="hello", max_tokens=1)
    with pytest.raises(openai.BadRequestError) as error:
        client.completions.create(**{**arguments, field: value})
    assert field in str(error.value)


def test_a_prompt_over_the_context_is_refused_with_both_numbers(client):
    with pytest.raises(openai.BadRequestError) as error:
        client.completions.create(model=harness.NAME, prompt=[5] * 5000, max_tokens=1)
    assert "5000" in str(error.value) and "4096" in str(error.value)


def test_another_model_is_not_found(client):
    with pytest.raises(openai.NotFoundError):
        client.completions.create(model="gpt-4", prompt="hello")


def test_keys_are_asked_for(tmp_path):
    keys = tmp_path / "keys"
    keys.write_text("# ours\nsecret\n")
    with harness.Server(tmp_path, "--api-key-file", keys) as server:
        with pytest.raises(openai.AuthenticationError):
            chat(server.openai(api_key="wrong"), "What is 12 + 7?")
        assert "19" in chat(server.openai(api_key="secret"), "What is 12 + 7?").choices[0].message.content
        assert server.get("/health").status_code == 200
        assert "YOUR_KEY" in server.output() and "secret" not in server.output() + server.log()
