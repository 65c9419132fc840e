"""POST /v1/chat/completions, sentence by sentence of API.md, through the official SDK where it can say it."""

import json

import openai
import pytest

import harness

QUESTION = [{"role": "user", "content": "What is 12 + 7?"}]


@pytest.fixture(scope="module")
def ask(client):
    def send(messages=None, **arguments):
        extra = {name: arguments.pop(name) for name in list(arguments) if name in EXTENSIONS}
        return client.chat.completions.create(model=harness.NAME, messages=messages or QUESTION,
                                              **{"temperature": 0, **arguments}, extra_body=extra)

    return send


EXTENSIONS = {"min_tokens", "ignore_eos", "top_k", "add_generation_prompt", "continue_final_message", "return_token_ids",
              "include_stop_str_in_output", "stop_token_ids", "request_id", "truncate_prompt_tokens", "priority",
              "chat_template_kwargs", "allowed_token_ids", "bad_words", "repetition_penalty", "min_p",
              "skip_special_tokens", "cache_salt"}


def test_shape_and_answer(ask):
    reply = ask(max_tokens=16)
    assert reply.object == "chat.completion" and reply.id.startswith("chatcmpl-") and reply.model == harness.NAME
    (choice,) = reply.choices
    assert choice.message.role == "assistant" and "19" in choice.message.content
    assert choice.finish_reason == "stop" and choice.message.tool_calls is None
    assert reply.usage.total_tokens == reply.usage.prompt_tokens + reply.usage.completion_tokens


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
def test_both_names_of_the_limit(ask, name):
    reply = ask(**{name: 2})
    assert reply.usage.completion_tokens == 2 and reply.choices[0].finish_reason == "length"


def test_content_may_be_parts(ask):
    parts = [{"type": "text", "text": "What is "}, {"type": "text", "text": "12 + 7?"}]
    assert ask([{"role": "user", "content": parts}], max_tokens=8).choices == ask(max_tokens=8).choices


@pytest.mark.parametrize("role", ["system", "developer"])
def test_instructions_are_taken(ask, role):
    reply = ask([{"role": role, "content": "Be brief."}, *QUESTION], max_tokens=8)
    assert reply.usage.prompt_tokens > ask(max_tokens=1).usage.prompt_tokens


def test_a_conversation_goes_on(ask):
    messages = [*QUESTION, {"role": "assistant", "content": "19"}, {"role": "user", "content": "What is 3 + 4?"}]
    assert "7" in ask(messages, max_tokens=8).choices[0].message.content


def test_other_parts_are_refused_by_name(ask):
    with pytest.raises(openai.BadRequestError) as refused:
        ask([{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:,"}}]}])
    assert "image_url" in str(refused.value)


@pytest.mark.parametrize("top", [None, 0, 3, 20])
def test_logprobs(ask, top):
    entries = ask(max_tokens=4, logprobs=True, top_logprobs=top).choices[0].logprobs.content
    assert len(entries) == len([entry for entry in entries if entry.logprob <= 0])
    for entry in entries:
        assert len(entry.top_logprobs) == (top or 0)
        assert bytes(entry.bytes).decode() == entry.token or entry.token.startswith("bytes:") or entry.bytes == []


def test_more_than_twenty_logprobs_are_refused(ask):
    with pytest.raises(openai.BadRequestError, match="top_logprobs"):
        ask(logprobs=True, top_logprobs=21)


def test_stream_opens_with_the_role_and_the_first_token(ask):
    chunks = list(ask(max_tokens=32, stream=True, stream_options={"include_usage": True}))
    assert chunks[0].choices[0].delta.role == "assistant" and chunks[0].choices[0].delta.content is not None
    assert all(chunk.choices[0].delta.role is None for chunk in chunks[1:-1])
    assert len({(chunk.id, chunk.created, chunk.model) for chunk in chunks}) == 1
    assert chunks[-1].choices == [] and chunks[-1].usage.completion_tokens >= 1
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks[:-1])
    assert text == ask(max_tokens=32).choices[0].message.content
    assert [chunk.choices[0].finish_reason for chunk in chunks[:-1] if chunk.choices[0].finish_reason] == ["stop"]


def test_one_chunk_per_token(events):
    chunks = events("/v1/chat/completions", {"messages": QUESTION, "max_tokens": 20, "ignore_eos": True,
                                             "skip_special_tokens": False})
    assert len(chunks) == 20 + 1


def test_sdk_stream_helper_assembles_the_answer(client):
    with client.chat.completions.stream(model=harness.NAME, messages=QUESTION, temperature=0, max_tokens=16) as stream:
        final = [event for event in stream][-1]
    assert final.type in ("content.done", "chunk")
    assert "19" in stream.get_final_completion().choices[0].message.content


def test_n_choices(ask):
    reply = ask(n=3, temperature=1, seed=5, max_tokens=8)
    assert [choice.index for choice in reply.choices] == [0, 1, 2]


def test_stop(ask):
    whole = ask(max_tokens=16).choices[0].message.content
    assert ask(max_tokens=16, stop=[whole[1]]).choices[0].message.content == whole[:1]


def test_continue_final_message(ask):
    whole = ask(max_tokens=16).choices[0].message.content
    begun = [*QUESTION, {"role": "assistant", "content": whole[:1]}]
    rest = ask(begun, max_tokens=16, add_generation_prompt=False, continue_final_message=True).choices[0].message.content
    assert whole[:1] + rest == whole


def test_continue_final_message_needs_an_assistants_message(ask):
    with pytest.raises(openai.BadRequestError, match="continue_final_message"):
        ask(add_generation_prompt=False, continue_final_message=True)


def test_a_null_content_belongs_to_assistants_only(post):
    body = {"messages": [{"role": "user", "content": None}]}
    assert post("/v1/chat/completions", body, expected=400)["error"]["param"] == "messages[0].content"


# Constrained answers

SCHEMA = {"type": "object", "properties": {"sum": {"type": "integer"}, "sure": {"type": "boolean"}},
          "required": ["sum", "sure"], "additionalProperties": False}


def test_json_object(ask):
    reply = ask(response_format={"type": "json_object"}, max_tokens=200, temperature=1, seed=3)
    if reply.choices[0].finish_reason == "stop":
        assert isinstance(json.loads(reply.choices[0].message.content), dict)
    else:
        assert reply.choices[0].message.content.lstrip().startswith("{")


@pytest.mark.parametrize("seed", range(5))
def test_json_schema(ask, seed):
    reply = ask(response_format={"type": "json_schema", "json_schema": {"name": "answer", "schema": SCHEMA, "strict": True}},
                max_tokens=200, temperature=1, seed=seed)
    assert reply.choices[0].finish_reason == "stop"
    value = json.loads(reply.choices[0].message.content)
    assert set(value) == {"sum", "sure"} and isinstance(value["sum"], int) and isinstance(value["sure"], bool)


def test_a_streamed_schema_is_the_same(client, ask):
    form = {"type": "json_schema", "json_schema": {"name": "answer", "schema": SCHEMA}}
    text = "".join(chunk.choices[0].delta.content or "" for chunk in
                   ask(response_format=form, max_tokens=200, stream=True) if chunk.choices)
    assert text == ask(response_format=form, max_tokens=200).choices[0].message.content


@pytest.mark.parametrize("schema, name", [({"type": "string", "format": "no-such"}, "format"), ({"not": {}}, "not"),
                                          ({"$ref": "http://elsewhere/x"}, "$ref"), ({"type": "wrong"}, "type")],
                         ids=lambda value: str(value)[:24])
def test_unsupported_schemas_are_refused_by_name(ask, schema, name):
    with pytest.raises(openai.BadRequestError) as refused:
        ask(response_format={"type": "json_schema", "json_schema": {"name": "x", "schema": schema}})
    assert name in str(refused.value)


# Tools

WEATHER = {"type": "function", "function": {
    "name": "get_weather", "description": "The weather of a place",
    "parameters": {"type": "object", "properties": {"place": {"type": "string", "maxLength": 12}}, "required": ["place"],
                   "additionalProperties": False}}}


def test_a_named_tool_is_called(ask):
    reply = ask(tools=[WEATHER], tool_choice={"type": "function", "function": {"name": "get_weather"}}, max_tokens=200)
    (choice,) = reply.choices
    assert choice.finish_reason in ("tool_calls", "stop")
    (call,) = choice.message.tool_calls
    assert call.type == "function" and call.function.name == "get_weather" and call.id
    assert set(json.loads(call.function.arguments)) == {"place"}


def test_a_required_tool_is_called_and_streams(ask):
    chunks = list(ask(tools=[WEATHER], tool_choice="required", max_tokens=200, stream=True,
                      parallel_tool_calls=False))
    deltas = [chunk.choices[0].delta.tool_calls for chunk in chunks if chunk.choices and chunk.choices[0].delta.tool_calls]
    assert deltas[0][0].function.name == "get_weather" and deltas[0][0].id and deltas[0][0].index == 0
    arguments = "".join(call.function.arguments or "" for delta in deltas for call in delta if call.index == 0)
    assert set(json.loads(arguments)) == {"place"}
    assert chunks[-1].choices[0].finish_reason == "tool_calls"


def test_tool_choice_none_is_an_ordinary_answer(ask):
    assert "tool_calls" != ask(tools=[WEATHER], tool_choice="none", max_tokens=8).choices[0].finish_reason


def test_tool_results_are_messages(ask):
    call = {"id": "abcdefghi", "type": "function", "function": {"name": "get_weather", "arguments": "{\"place\": \"Rome\"}"}}
    messages = [*QUESTION, {"role": "assistant", "content": None, "tool_calls": [call]},
                {"role": "tool", "tool_call_id": "abcdefghi", "content": "sunny"}]
    try:
        assert ask(messages, tools=[WEATHER], max_tokens=4).usage.completion_tokens >= 1
    except openai.BadRequestError as refused:  # the bundled model's template knows no tools and may say so
        assert "template" in str(refused)


def test_a_tool_choice_without_tools_is_refused(post):
    body = {"messages": QUESTION, "tool_choice": "required"}
    assert post("/v1/chat/completions", body, expected=400)["error"]["param"] == "tool_choice"
