# Owns holding translation against the recordings: what the client's SDK reads through Greenroom is what the provider's own
# SDK reads from the original.

import json
import os
import shutil
import subprocess
import time

import anthropic
import openai
import pytest
from google import genai
from replay import Player, recordings

RECORDINGS = recordings()
ASK = [{"role": "user", "content": "x"}]
FINISH = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "pause_turn": "length",
    "tool_use": "tool_calls",
    "max_tokens": "length",
    "refusal": "content_filter",
    "STOP": "stop",
    "MAX_TOKENS": "length",
}
SETTINGS = """
[server]
workers = 1
[history]
enabled = false
[users.tester]
token = "token"
models = ["*"]
backends = ["*"]
may_pin = true
[models.m]
backends = [{ backend = "openai" }, { backend = "anthropic", model = "claude" }, { backend = "gemini", model = "gemini" }]
rescue = "off"
"""


@pytest.fixture(scope="module")
def player():
    player = Player()
    yield player
    player.shutdown()


@pytest.fixture(scope="module")
def proxy(player, tmp_path_factory):
    """A Greenroom of its own, whose three backends are the player."""
    binary = os.environ.get("GREENROOM_BIN") or shutil.which("greenroom")
    assert binary, "set GREENROOM_BIN, or put greenroom into PATH"
    home = tmp_path_factory.mktemp("greenroom")
    backends = [
        f'[backends.{name}]\nprotocol = "{name}"\nbase_url = "{player.url}"\napi_key = "k"\n'
        for name in ("openai", "anthropic", "gemini")
    ]
    (home / "greenroom.toml").write_text(SETTINGS + "\n".join(backends))
    command = [binary, "serve", "--config", home / "greenroom.toml", "--bind", "127.0.0.1:0"]
    with (home / "out").open("wb") as out, (home / "err").open("wb") as err:
        running = subprocess.Popen(command, stdout=out, stderr=err, cwd=home)
    try:
        url, limit = "", time.monotonic() + 20
        while not url:
            assert running.poll() is None and time.monotonic() < limit, (home / "err").read_text()
            said = (home / "out").read_text().split("greenroom listening on ")
            url = said[1].split()[0] if len(said) > 1 and said[1].endswith("\n") else ""
            time.sleep(0.02)
        yield url
    finally:
        running.terminate()
        running.wait(20)


def outcome(text, calls, finish, usage):
    return {"text": text, "calls": calls, "finish": finish, "usage": usage}


def of_chat(completion):
    """What the OpenAI SDK assembled."""
    choice = completion.choices[0]
    calls = [(call.function.name, json.loads(call.function.arguments)) for call in choice.message.tool_calls or []]
    usage = completion.usage
    count = (usage.prompt_tokens, usage.completion_tokens) if usage else (0, 0)
    return outcome(choice.message.content or "", calls, choice.finish_reason, count)


def of_message(message):
    """What the Anthropic SDK assembled."""
    text = "".join(block.text for block in message.content if block.type == "text")
    calls = [(block.name, block.input) for block in message.content if block.type == "tool_use"]
    usage = message.usage
    cached = (usage.cache_read_input_tokens or 0) + (usage.cache_creation_input_tokens or 0)
    return outcome(text, calls, FINISH[message.stop_reason], (usage.input_tokens + cached, usage.output_tokens))


def of_response(response):
    """What the OpenAI SDK assembled of a response."""
    calls = [(item.name, json.loads(item.arguments)) for item in response.output if item.type == "function_call"]
    reason = response.incomplete_details.reason if response.incomplete_details else None
    finish = {"max_output_tokens": "length"}.get(reason, reason) or "stop"
    usage = response.usage
    count = (usage.input_tokens, usage.output_tokens) if usage else (0, 0)
    return outcome(response.output_text, calls, finish, count)


def of_google(chunks):
    """What the Google SDK reads of chunks."""
    text, calls, finish, usage = "", [], None, (0, 0)
    for chunk in chunks:
        for candidate in (chunk.candidates or [])[:1]:
            for part in (candidate.content and candidate.content.parts) or []:
                text += (part.text or "") if not part.thought else ""
                call = part.function_call
                if call and call.name:
                    calls.append((call.name, dict(call.args or {})))
                for piece in (call and call.partial_args) or []:
                    key = piece.json_path.removeprefix("$.")
                    calls[-1][1][key] = calls[-1][1].get(key, "") + piece.string_value
            finish = FINISH[candidate.finish_reason.value] if candidate.finish_reason else finish
        count = chunk.usage_metadata
        if count and count.prompt_token_count:
            usage = (
                count.prompt_token_count + (count.tool_use_prompt_token_count or 0),
                (count.candidates_token_count or 0) + (count.thoughts_token_count or 0),
            )
    return outcome(text, calls, "tool_calls" if calls and finish == "stop" else finish, usage)


def chat(url, stream, token="token", **more):
    client = openai.OpenAI(base_url=url, api_key=token, max_retries=0)
    if not stream:
        return of_chat(client.chat.completions.create(model="m", messages=ASK, **more))
    text, calls, finish, usage = "", [], None, (0, 0)
    # Not the SDK's helper, which refuses to show an answer that was filtered.
    for chunk in client.chat.completions.create(
        model="m", messages=ASK, stream=True, stream_options={"include_usage": True}, **more
    ):
        for choice in chunk.choices:
            text += choice.delta.content or ""
            finish = choice.finish_reason or finish
            for call in choice.delta.tool_calls or []:
                if call.function.name:
                    assert call.index == len(calls) and call.id
                    calls.append([call.function.name, ""])
                calls[call.index][1] += call.function.arguments or ""
        if chunk.usage:
            usage = (chunk.usage.prompt_tokens, chunk.usage.completion_tokens)
    return outcome(text, [(name, json.loads(arguments)) for name, arguments in calls], finish, usage)


def message(url, stream, token="token", **more):
    client = anthropic.Anthropic(base_url=url, api_key=token, max_retries=0)
    if not stream:
        return of_message(client.messages.create(model="m", messages=ASK, max_tokens=99, **more))
    with client.messages.stream(model="m", messages=ASK, max_tokens=99, **more) as events:
        return of_message(events.get_final_message())


def response(url, stream, **more):
    client = openai.OpenAI(base_url=url, api_key="token", max_retries=0)
    if not stream:
        return of_response(client.responses.create(model="m", input="x", **more))
    events = list(client.responses.create(model="m", input="x", stream=True, **more))
    assert events[-1].type in ("response.completed", "response.incomplete")
    said = "".join(event.delta for event in events if event.type == "response.output_text.delta")
    assert said == events[-1].response.output_text
    return of_response(events[-1].response)


def original(player, recording):
    """What the provider's own SDK makes of it."""
    if recording.protocol == "anthropic":
        return message(player.url, recording.stream)
    if recording.protocol == "openai":
        return chat(player.url, recording.stream)
    client = genai.Client(api_key="k", http_options={"base_url": player.url})
    ask = {"model": "gemini-x", "contents": "x"}
    if recording.stream:
        return of_google(client.models.generate_content_stream(**ask))
    return of_google([client.models.generate_content(**ask)])


@pytest.mark.skipif(not RECORDINGS, reason="no recordings here")
@pytest.mark.parametrize("recording", RECORDINGS, ids=lambda recording: f"{recording.protocol}-{recording.name}")
def test_every_sdk_reads_what_the_providers_own_reads(player, proxy, recording):
    player.recording, player.cut = recording, 1 << 20
    want = original(player, recording)
    pinned = {"extra_body": {"backend": recording.protocol}}
    # Short ones byte by byte, long ones in pieces that end anywhere.
    for player.cut in (1 << 20, 1 if len(recording.body) < 4096 else 61):
        assert chat(f"{proxy}/v1", recording.stream, **pinned) == want
        assert message(proxy, recording.stream, **pinned) == want
        got = response(f"{proxy}/v1", recording.stream, **pinned)
        # A response that is complete does not tell whether it stopped or waits for its calls.
        complete = want["finish"] in ("stop", "tool_calls")
        assert got == ({**want, "finish": "stop"} if complete else want)
