"""LiteLLM and LangChain, as their users call them."""

import asyncio
import os

import pytest

import harness

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # no download at import

QUESTION = "What is 12 + 7?"


@pytest.fixture(scope="module")
def litellm(server):
    import litellm as library

    arguments = {"model": f"openai/{harness.NAME}", "api_base": f"{server.url}/v1", "api_key": "none", "temperature": 0,
                 "max_tokens": 16, "num_retries": 0}
    return library, arguments


def messages(text=QUESTION):
    return [{"role": "user", "content": text}]


def test_litellm_chats(litellm):
    library, arguments = litellm
    reply = library.completion(messages=messages(), **arguments)
    assert "19" in reply.choices[0].message.content and reply.usage.completion_tokens > 0


def test_litellm_streams(litellm):
    library, arguments = litellm
    text = "".join(chunk.choices[0].delta.content or "" for chunk in
                   library.completion(messages=messages(), stream=True, **arguments))
    assert text == library.completion(messages=messages(), **arguments).choices[0].message.content


def test_litellm_is_asynchronous(litellm):
    library, arguments = litellm

    async def several():
        return await asyncio.gather(*(library.acompletion(messages=messages(), **arguments) for _ in range(8)))

    assert len({reply.choices[0].message.content for reply in asyncio.run(several())}) == 1


def test_litellm_completes_text(litellm):
    library, arguments = litellm
    reply = library.text_completion(prompt="In the beginning",
                                    **{**arguments, "model": f"text-completion-openai/{harness.NAME}"})
    assert reply.choices[0].text


def test_litellm_raises_its_own_errors(litellm):
    library, arguments = litellm
    with pytest.raises(library.BadRequestError, match="temperature"):
        library.completion(messages=messages(), **{**arguments, "temperature": 9})
    with pytest.raises(library.NotFoundError):
        library.completion(messages=messages(), **{**arguments, "model": "openai/other"})
    with pytest.raises((library.ContextWindowExceededError, library.BadRequestError)):
        library.completion(messages=messages("word " * 6000), **arguments)


@pytest.fixture(scope="module")
def langchain_chat(server):
    from langchain_openai import ChatOpenAI

    return ChatOpenAI(model=harness.NAME, base_url=f"{server.url}/v1", api_key="none", temperature=0, max_tokens=16,
                      max_retries=0)


def test_langchain_invokes(langchain_chat):
    answer = langchain_chat.invoke(QUESTION)
    assert "19" in answer.content and answer.response_metadata["finish_reason"] == "stop"
    assert answer.usage_metadata["output_tokens"] > 0


def test_langchain_streams_what_it_invokes(langchain_chat):
    assert "".join(chunk.content for chunk in langchain_chat.stream(QUESTION)) == langchain_chat.invoke(QUESTION).content


def test_langchain_batches(langchain_chat):
    answers = langchain_chat.batch([QUESTION, "What is 3 + 4?", "Hello"])
    assert "19" in answers[0].content and "7" in answers[1].content


def test_langchain_converses(langchain_chat):
    from langchain_core.messages import AIMessage, HumanMessage, SystemMessage

    answer = langchain_chat.invoke([SystemMessage("Be brief."), HumanMessage(QUESTION), AIMessage("19"),
                                    HumanMessage("What is 3 + 4?")])
    assert "7" in answer.content


def test_langchain_reads_log_probabilities(langchain_chat):
    answer = langchain_chat.bind(logprobs=True, top_logprobs=2).invoke(QUESTION)
    assert len(answer.response_metadata["logprobs"]["content"][0]["top_logprobs"]) == 2


def test_langchain_is_asynchronous(langchain_chat):
    assert "19" in asyncio.run(langchain_chat.ainvoke(QUESTION)).content


def test_langchain_parses_structured_output(langchain_chat):
    schema = {"title": "answer", "description": "the sum", "type": "object",
              "properties": {"sum": {"type": "integer"}}, "required": ["sum"], "additionalProperties": False}
    structured = langchain_chat.with_structured_output(schema, method="json_schema")
    assert isinstance(structured.invoke(QUESTION)["sum"], int)


def test_langchain_completes_text(server):
    from langchain_openai import OpenAI

    model = OpenAI(model=harness.NAME, base_url=f"{server.url}/v1", api_key="none", temperature=0, max_tokens=8, max_retries=0)
    assert model.invoke("In the beginning") == "".join(model.stream("In the beginning"))
    assert len(model.generate(["In the beginning", "To be"]).generations) == 2
