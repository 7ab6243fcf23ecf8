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


def test_the_responses_api_works_on_everyone(chat):
    body = {"model": "gpt-4o", "input": "What is 2+2?", "extra_body": {"backend": chat.backend}}
    assert chat.client.responses.create(**body).output_text == "2 + 2 = 4."
    events = list(chat.client.responses.create(stream=True, **body))
    assert events[-1].type == "response.completed"
    assert "".join(e.delta for e in events if e.type == "response.output_text.delta") == "2 + 2 = 4."
