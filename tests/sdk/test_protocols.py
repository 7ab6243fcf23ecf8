"""The official OpenAI SDK against backends of every protocol: the client cannot tell which one answers."""

import json

import openai
import pytest

BACKENDS = ["openai_official", "anthropic_claude", "google_gemini"]
QUESTION = [{"role": "user", "content": "What is 2+2?"}]
TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Tells the weather of a city.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
PIXEL = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="


@pytest.fixture(name="chat", params=BACKENDS)
def chat_fixture(request, url, token):
    client = openai.OpenAI(base_url=f"{url}/v1", api_key=token, max_retries=0)

    def create(**more):
        body = {"model": "gpt-4o", "messages": QUESTION, "extra_body": {"backend": request.param}}
        return client.chat.completions.create(**(body | more))

    create.backend = request.param
    create.client = client
    return create


def test_an_answer_is_the_same_from_everyone(chat):
    reply = chat()
    assert reply.choices[0].message.content == "2 + 2 = 4."
    assert reply.choices[0].finish_reason == "stop"
    assert reply.usage.prompt_tokens > 0 and reply.usage.completion_tokens > 0


def test_a_stream_counts_tokens_only_when_asked(chat):
    for asked in (False, True):
        more = {"stream_options": {"include_usage": True}} if asked else {}
        chunks = list(chat(stream=True, **more))
        text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
        assert text == "2 + 2 = 4."
        assert [c.usage for c in chunks if c.usage and not c.choices] == ([chunks[-1].usage] if asked else [])
        assert (chunks[-1].usage is not None) == asked


@pytest.mark.parametrize("stream", [False, True])
def test_a_tool_loop_takes_two_turns(chat, stream):
    turns = [{"role": "user", "content": "What is the weather in Paris?"}]
    first = chat(messages=turns, tools=[TOOL], stream=stream)
    if stream:
        name, call_id, arguments, finish = "", "", "", None
        for chunk in first:
            for choice in chunk.choices:
                finish = choice.finish_reason or finish
                for call in choice.delta.tool_calls or []:
                    call_id = call.id or call_id
                    name += (call.function.name or "") if call.function else ""
                    arguments += (call.function.arguments or "") if call.function else ""
    else:
        finish = first.choices[0].finish_reason
        call = first.choices[0].message.tool_calls[0]
        name, call_id, arguments = call.function.name, call.id, call.function.arguments
    assert finish == "tool_calls" and name == "get_weather" and isinstance(json.loads(arguments), dict)
    call = {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}
    turns.append({"role": "assistant", "tool_calls": [call]})
    turns.append({"role": "tool", "tool_call_id": call_id, "content": json.dumps({"sky": "clear"})})
    second = chat(messages=turns, tools=[TOOL])
    assert second.choices[0].finish_reason == "stop" and "clear" in second.choices[0].message.content


def test_a_schema_is_kept(chat):
    schema = {"type": "object", "properties": {"answer": {"type": "integer"}}, "required": ["answer"], "additionalProperties": False}
    wanted = {"type": "json_schema", "json_schema": {"name": "sum", "schema": schema, "strict": True}}
    reply = chat(response_format=wanted)
    assert isinstance(json.loads(reply.choices[0].message.content)["answer"], int)


def test_an_image_part_is_taken(chat):
    parts = [{"type": "text", "text": "What is this?"}, {"type": "image_url", "image_url": {"url": PIXEL}}]
    assert chat(messages=[{"role": "user", "content": parts}]).choices[0].message.content


def test_what_a_protocol_cannot_express_is_refused_by_name(chat):
    if chat.backend == "openai_official":
        assert chat(n=2).choices, "its own protocol has several choices"
        return
    with pytest.raises(openai.BadRequestError) as refused:
        chat(n=2)
    assert refused.value.param == "n"


@pytest.mark.parametrize("stream", [False, True])
def test_a_free_text_tool_is_called_as_one(chat, stream):
    tool = {"type": "custom", "custom": {"name": "shell", "description": "Runs a command."}}
    turns = [{"role": "user", "content": "List the files."}]
    first = chat(messages=turns, tools=[tool], stream=stream)
    if stream:
        deltas = [call.model_dump() for c in first for choice in c.choices for call in choice.delta.tool_calls or []]
        call_id, name = deltas[0]["id"], deltas[0]["custom"]["name"]
        typed = "".join(delta["custom"]["input"] for delta in deltas)
    else:
        [call] = first.choices[0].message.tool_calls
        assert call.type == "custom" and first.choices[0].finish_reason == "tool_calls"
        call_id, name, typed = call.id, call.custom.name, call.custom.input
    assert name == "shell" and typed and not typed.startswith("{")
    call = {"id": call_id, "type": "custom", "custom": {"name": name, "input": typed}}
    turns += [{"role": "assistant", "tool_calls": [call]}, {"role": "tool", "tool_call_id": call_id, "content": "a.txt"}]
    second = chat(messages=turns, tools=[tool])
    assert "a.txt" in second.choices[0].message.content


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("then", BACKENDS)
def test_thinking_survives_a_tool_loop_whoever_takes_the_second_turn(chat, then, stream):
    turns = [{"role": "user", "content": "What is the weather in Paris?"}]
    body = {"messages": turns, "tools": [TOOL], "reasoning_effort": "low", "max_tokens": 4096}
    if stream:
        pinned = {"model": "gpt-4o", "extra_body": {"backend": chat.backend}}
        with chat.client.chat.completions.stream(**body, **pinned) as chunks:
            said = chunks.get_final_completion().choices[0].message
    else:
        said = chat(**body).choices[0].message
    [call] = said.tool_calls
    # As the SDK's users do it: the message as it came.
    turns += [said, {"role": "tool", "tool_call_id": call.id, "content": "clear"}]
    if chat.backend != "openai_official":
        assert said.reasoning_content
    second = chat(**body, extra_body={"backend": then})
    assert "clear" in second.choices[0].message.content
