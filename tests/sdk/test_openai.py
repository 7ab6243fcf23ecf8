# Owns what the official OpenAI SDK sees of Greenroom when all goes well: chat, streams, both of them async, pins, models.

import asyncio
import json

import pytest

MODEL = "gpt-4o"
MESSAGES = [{"role": "user", "content": "Say hello in one sentence."}]
WELL = ["openai_official", "anthropic_claude", "google_gemini"]


def collected(chunks):
    """Text, finish reason and usage of a stream's chunks."""
    text, finish, usage = "", None, None
    for chunk in chunks:
        for choice in chunk.choices:
            text += choice.delta.content or ""
            finish = choice.finish_reason or finish
        usage = chunk.usage or usage
    return text, finish, usage


def test_a_chat_is_answered(client):
    answer = client.chat.completions.create(model=MODEL, messages=MESSAGES)
    assert answer.object == "chat.completion"
    assert answer.choices[0].message.role == "assistant"
    assert answer.choices[0].message.content
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens > 0


def test_headers_tell_who_answered(client):
    raw = client.chat.completions.with_raw_response.create(model=MODEL, messages=MESSAGES)
    assert raw.headers["x-greenroom-backend"] in WELL
    assert raw.headers["x-greenroom-route"] in ("least_loaded", "failover", "hedged")
    assert int(raw.headers["x-greenroom-attempts"]) >= 1
    assert raw.request_id == raw.headers["x-request-id"]
    assert raw.parse().choices[0].message.content


def test_a_stream_is_answered_chunk_by_chunk(client):
    chunks = list(client.chat.completions.create(model=MODEL, messages=MESSAGES, stream=True))
    text, finish, usage = collected(chunks)
    assert len(chunks) > 2 and text and finish == "stop"
    assert usage is None, "token counts were not asked for"


def test_a_stream_tells_token_counts_to_those_who_ask(client):
    stream = client.chat.completions.create(
        model=MODEL, messages=MESSAGES, stream=True, stream_options={"include_usage": True}
    )
    text, finish, usage = collected(stream)
    assert text and finish == "stop" and usage.total_tokens > 0


def test_the_streaming_helper_assembles_a_whole_answer(client):
    with client.chat.completions.stream(model=MODEL, messages=MESSAGES) as stream:
        answer = stream.get_final_completion()
    assert answer.choices[0].message.content and answer.choices[0].finish_reason == "stop"


def test_a_stream_that_is_closed_early_leaves_the_client_usable(client):
    stream = client.chat.completions.create(model=MODEL, messages=MESSAGES, stream=True)
    next(iter(stream))
    stream.close()
    assert client.chat.completions.create(model=MODEL, messages=MESSAGES).choices


def test_twenty_async_chats_and_streams_at_a_time(async_client):
    async def whole(client):
        answer = await client.chat.completions.create(model=MODEL, messages=MESSAGES)
        return answer.choices[0].message.content

    async def streamed(client):
        stream = await client.chat.completions.create(model=MODEL, messages=MESSAGES, stream=True)
        return collected([chunk async for chunk in stream])[0]

    async def all_of_them():
        async with async_client() as client:
            return await asyncio.gather(*[ask(client) for ask in (whole, streamed) * 10])

    answers = asyncio.run(all_of_them())
    assert len(answers) == 20 and all(answers)


@pytest.mark.parametrize("backend", WELL)
@pytest.mark.parametrize("stream", [False, True])
def test_extra_body_pins_a_backend(client, backend, stream):
    raw = client.chat.completions.with_raw_response.create(
        model=MODEL, messages=MESSAGES, stream=stream, extra_body={"backend": backend}
    )
    assert raw.headers["x-greenroom-backend"] == backend
    assert raw.headers["x-greenroom-route"] == "pinned"
    answer = raw.parse()
    assert collected(answer)[0] if stream else answer.choices[0].message.content


def test_options_of_the_sdk_pass(client):
    answer = client.chat.completions.create(
        model=MODEL,
        messages=[{"role": "system", "content": "Be brief."}, *MESSAGES],
        temperature=0.2,
        max_tokens=16,
        top_p=0.9,
        user="somebody",
        seed=7,
        stop=["\n\n"],
    )
    assert answer.choices


def test_models_are_listed_and_retrieved(client):
    ids = [model.id for model in client.models.list()]
    assert MODEL in ids and len(ids) >= 2
    for name in ids:
        model = client.models.retrieve(name)
        assert model.id == name and model.object == "model"


@pytest.mark.parametrize("backend", ["anthropic_claude", "google_gemini"])
@pytest.mark.parametrize("stream", [False, True])
def test_functions_as_they_were_before_tools_take_two_turns(client, backend, stream):
    function = {
        "name": "get_weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    }
    turns = [{"role": "user", "content": "What is the weather in Paris?"}]
    body = {"model": MODEL, "functions": [function], "extra_body": {"backend": backend}}
    first = client.chat.completions.create(messages=turns, stream=stream, **body)
    if stream:
        call, finish = {"name": "", "arguments": ""}, None
        for choice in (chunk.choices[0] for chunk in first):
            assert not choice.delta.tool_calls
            if choice.delta.function_call:
                call["name"] += choice.delta.function_call.name or ""
                call["arguments"] += choice.delta.function_call.arguments or ""
            finish = choice.finish_reason or finish
    else:
        message, finish = first.choices[0].message, first.choices[0].finish_reason
        assert not message.tool_calls
        call = {"name": message.function_call.name, "arguments": message.function_call.arguments}
    assert finish == "function_call" and call["name"] == "get_weather" and json.loads(call["arguments"])["city"]
    turns += [
        {"role": "assistant", "content": None, "function_call": call},
        {"role": "function", "name": "get_weather", "content": "clear"},
    ]
    second = client.chat.completions.create(messages=turns, **body).choices[0]
    assert second.finish_reason == "stop" and "clear" in second.message.content
