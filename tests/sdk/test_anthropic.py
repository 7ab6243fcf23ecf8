"""The official Anthropic SDK against /v1/messages, whatever protocol the backend speaks."""

import json

import anthropic
import pytest

BACKENDS = ["openai_official", "anthropic_claude", "google_gemini"]
TOOL = {
    "name": "get_weather",
    "description": "Tells the weather of a city.",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}


@pytest.fixture(name="claude")
def claude_fixture(url, token):
    return anthropic.Anthropic(base_url=url, api_key=token, max_retries=0)


def ask(backend, **more):
    question = [{"role": "user", "content": "What is 2+2?"}]
    return {"model": "gpt-4o", "max_tokens": 200, "messages": question, "extra_body": {"backend": backend}} | more


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_message_is_answered(claude, backend):
    message = claude.messages.create(**ask(backend))
    assert message.content[0].text == "2 + 2 = 4."
    assert message.stop_reason == "end_turn"
    assert message.usage.input_tokens > 0 and message.usage.output_tokens > 0


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_stream_gives_the_same_text(claude, backend):
    with claude.messages.stream(**ask(backend)) as stream:
        text = "".join(stream.text_stream)
        final = stream.get_final_message()
    assert text == final.content[0].text == "2 + 2 = 4."
    assert final.stop_reason == "end_turn"


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_tool_is_called_and_its_result_is_used(claude, backend):
    turns = [{"role": "user", "content": "What is the weather in Paris?"}]
    first = claude.messages.create(**ask(backend, messages=turns, tools=[TOOL]))
    assert first.stop_reason == "tool_use"
    call = next(block for block in first.content if block.type == "tool_use")
    assert call.name == "get_weather" and isinstance(call.input, dict)
    turns.append({"role": "assistant", "content": [block.model_dump(exclude_none=True) for block in first.content]})
    result = {"type": "tool_result", "tool_use_id": call.id, "content": json.dumps({"sky": "clear"})}
    turns.append({"role": "user", "content": [result]})
    second = claude.messages.create(**ask(backend, messages=turns, tools=[TOOL]))
    assert second.stop_reason == "end_turn"
    assert "clear" in second.content[0].text


THINKING = {"max_tokens": 4096, "thinking": {"type": "enabled", "budget_tokens": 1024}}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("then", BACKENDS)
@pytest.mark.parametrize("backend", BACKENDS)
def test_thinking_survives_a_tool_loop_whoever_takes_the_second_turn(claude, backend, then, stream):
    turns = [{"role": "user", "content": "What is the weather in Paris?"}]
    body = ask(backend, messages=turns, tools=[TOOL], **THINKING)
    if stream:
        with claude.messages.stream(**body) as events:
            first = events.get_final_message()
    else:
        first = claude.messages.create(**body)
    kinds = [block.type for block in first.content]
    # The one model that does not think says nothing of it.
    assert kinds == (["tool_use"] if backend == "openai_official" else ["thinking", "tool_use"])
    if backend != "openai_official":
        assert first.content[0].thinking and first.content[0].signature
    # As the SDK's users do it: the blocks as they came.
    turns.append({"role": "assistant", "content": first.content})
    result = {"type": "tool_result", "tool_use_id": first.content[-1].id, "content": "clear"}
    turns.append({"role": "user", "content": [result]})
    second = claude.messages.create(**ask(then, messages=turns, tools=[TOOL], **THINKING))
    assert "clear" in second.content[-1].text


@pytest.mark.parametrize("backend", BACKENDS)
def test_streamed_thinking_comes_in_pieces_before_the_text(claude, backend):
    with claude.messages.stream(**ask(backend, **THINKING)) as stream:
        kinds = [event.type for event in stream if event.type in ("thinking", "signature", "text")]
    assert kinds == sorted(kinds, key=["thinking", "signature", "text"].index)
    assert kinds.count("text") > 1
    assert (kinds.count("thinking") > 1) == (backend != "openai_official")


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_stream_that_breaks_raises(claude, backend):
    question = [{"role": "user", "content": "[[cut=3 tokens=50]] Hello"}]
    with pytest.raises(anthropic.APIStatusError) as broken, claude.messages.stream(
        **ask(backend, messages=question)
    ) as stream:
        for _ in stream:
            pass
    assert broken.value.body["error"]["type"] == "api_error"


def test_tokens_are_counted_where_the_backend_can(claude):
    question = [{"role": "user", "content": "Hello"}]
    assert claude.messages.count_tokens(model="gpt-4o", messages=question).input_tokens > 0


def test_errors_are_the_sdks_own_types(claude, url):
    stranger = anthropic.Anthropic(base_url=url, api_key="wrong", max_retries=0)
    with pytest.raises(anthropic.AuthenticationError):
        stranger.messages.create(**ask("openai_official"))
    with pytest.raises(anthropic.NotFoundError):
        claude.messages.create(**ask("openai_official", model="no-such-model"))
    with pytest.raises(anthropic.BadRequestError):
        claude.messages.create(**ask("no-such-backend"))
    with pytest.raises(anthropic.InternalServerError):
        claude.messages.create(**ask("problematic_backend"))
