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


def test_thinking_passes_with_its_signature(claude):
    budget = {"type": "enabled", "budget_tokens": 1024}
    message = claude.messages.create(**ask("anthropic_claude", max_tokens=2048, thinking=budget))
    assert message.content[0].type == "thinking" and message.content[0].signature


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
