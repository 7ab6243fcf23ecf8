# Owns what the official OpenAI SDK sees of /v1/responses on backends of every protocol: whole, streamed, tools, errors.

import json

import openai
import pytest

BACKENDS = ["openai_official", "anthropic_claude", "google_gemini"]
QUESTION = "What is 2+2?"
WEATHER = "What is the weather in Paris?"
TOOL = {
    "type": "function",
    "name": "get_weather",
    "description": "Tells the weather of a city.",
    "parameters": {
        "type": "object",
        "properties": {"city": {"type": "string"}},
        "required": ["city"],
        "additionalProperties": False,
    },
    "strict": True,
}
SHELL = {"type": "custom", "name": "shell", "description": "Runs a command."}


@pytest.fixture(name="to", params=BACKENDS)
def to_fixture(request):
    """What every request of a test says, pinned to one backend."""
    return {"model": "gpt-4o", "extra_body": {"backend": request.param}}


def streamed(client, **body):
    """The events and the assembled response of the SDK's own streaming helper."""
    with client.responses.stream(**body) as stream:
        events = list(stream)
        final = stream.get_final_response()
    assert [event.sequence_number for event in events] == list(range(len(events)))
    return events, final


def test_a_whole_answer(client, to):
    response = client.responses.create(input=QUESTION, instructions="Be brief.", **to)
    assert (response.output_text, response.status, response.error) == ("2 + 2 = 4.", "completed", None)
    usage = response.usage
    assert usage.total_tokens == usage.input_tokens + usage.output_tokens > 0
    assert usage.input_tokens_details.cached_tokens == usage.output_tokens_details.reasoning_tokens == 0


@pytest.mark.parametrize("backend", ["anthropic_claude", "google_gemini"])
@pytest.mark.parametrize("stream", [False, True])
def test_a_translated_answer_repeats_its_request(client, backend, stream):
    body = {
        "model": "gpt-4o",
        "input": QUESTION,
        "extra_body": {"backend": backend},
        "instructions": "Be brief.",
        "metadata": {"team": "blue"},
        "max_output_tokens": 99,
        "tools": [TOOL],
        "tool_choice": "none",
        "text": {"verbosity": "low"},
    }
    response = streamed(client, **body)[1] if stream else client.responses.create(**body)
    assert (response.metadata, response.instructions, response.max_output_tokens) == ({"team": "blue"}, "Be brief.", 99)
    assert response.tools[0].name == "get_weather" and response.tool_choice == "none"
    assert response.text.verbosity == "low" and response.text.format.type == "text"
    assert response.truncation == "disabled" and response.reasoning.effort is None


def test_a_streamed_answer(client, to):
    events, final = streamed(client, input=QUESTION, **to)
    kinds = [event.type for event in events]
    assert kinds[:2] == ["response.created", "response.in_progress"]
    assert kinds[-1] == "response.completed"
    deltas = [event.delta for event in events if event.type == "response.output_text.delta"]
    assert len(deltas) > 2 and "".join(deltas) == final.output_text == "2 + 2 = 4."
    assert final.usage.output_tokens > 0


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("thinking", [False, True])
def test_a_tool_loop_takes_two_turns(client, to, stream, thinking):
    more = {"reasoning": {"effort": "low", "summary": "auto"}} if thinking else {}
    turns = [{"role": "user", "content": WEATHER}]
    body = {"input": turns, "tools": [TOOL], **more, **to}
    first = streamed(client, **body)[1] if stream else client.responses.create(**body)
    [call] = [item for item in first.output if item.type == "function_call"]
    assert call.name == "get_weather" and isinstance(json.loads(call.arguments)["city"], str)
    if thinking and to["extra_body"]["backend"] != "openai_official":
        assert first.output[0].type == "reasoning" and first.output[0].summary[0].text
    turns += first.output
    turns.append({"type": "function_call_output", "call_id": call.call_id, "output": json.dumps({"sky": "clear"})})
    second = client.responses.create(input=turns, tools=[TOOL], **more, **to)
    assert second.status == "completed" and "clear" in second.output_text


@pytest.mark.parametrize("stream", [False, True])
def test_a_free_text_tool_is_called_as_one(client, to, stream):
    body = {"input": "List the files.", "tools": [SHELL], **to}
    if stream:
        events, first = streamed(client, **body)
        typed = "".join(event.delta for event in events if event.type == "response.custom_tool_call_input.delta")
    else:
        first, typed = client.responses.create(**body), None
    [call] = [item for item in first.output if item.type == "custom_tool_call"]
    assert call.name == "shell" and call.input and typed in (None, call.input)
    turns = [{"role": "user", "content": "List the files."}, *first.output]
    turns.append({"type": "custom_tool_call_output", "call_id": call.call_id, "output": "a.txt"})
    second = client.responses.create(input=turns, tools=[SHELL], **to)
    assert "a.txt" in second.output_text


def test_a_schema_is_kept(client, to):
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"], "additionalProperties": False}
    wanted = {"format": {"type": "json_schema", "name": "sum", "schema": schema, "strict": True}}
    response = client.responses.create(input=QUESTION, text=wanted, **to)
    assert isinstance(json.loads(response.output_text)["n"], int)


def test_an_answer_that_is_too_long_is_incomplete(client, to):
    response = client.responses.create(input=QUESTION, max_output_tokens=2, **to)
    assert (response.status, response.incomplete_details.reason) == ("incomplete", "max_output_tokens")


def test_refusals_are_the_sdks_own_types(client, to):
    pinned = to["extra_body"]
    for kind, code, body in [
        (openai.NotFoundError, "model_not_found", {"model": "no-such-model", "input": "x"}),
        (openai.BadRequestError, "missing_required_parameter", {**to, "input": None}),
        (openai.BadRequestError, "unsupported_parameter", {**to, "input": "x", "previous_response_id": "resp_1"}),
        (openai.InternalServerError, "upstream_error", {**to, "input": "[[fail=500]] x"}),
    ]:
        for stream in (False, True):
            with pytest.raises(kind) as refused:
                client.responses.create(**{"extra_body": pinned, **body, "stream": stream})
            assert refused.value.code == code, pinned


def test_a_stream_that_breaks_raises_after_it_has_told_so(client, to):
    seen = []
    with pytest.raises(openai.APIError) as broken:
        for event in client.responses.create(input="[[cut=3 tokens=50]] x", stream=True, **to):
            seen.append(event)
    assert broken.value.code == "upstream_error"
    assert seen[-1].type == "response.failed" and seen[-1].response.status == "failed"
    assert seen[-1].response.error.message
    assert [event.sequence_number for event in seen] == list(range(len(seen)))
    assert seen[-1].response.id == seen[0].response.id
