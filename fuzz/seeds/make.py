#!/usr/bin/env python3
"""Makes the first corpus of each fuzz target: recordings of the real services, if a folder of them is given, and what the targets know.

Usage: fuzz/seeds/make.py [FOLDER_OF_RECORDINGS]
"""

import gzip
import hashlib
import json
import pathlib
import sys
import zlib

HERE = pathlib.Path(__file__).resolve().parent.parent
CORPUS = HERE / "corpus"
REQUESTS = [
    {"model": "m", "messages": [{"role": "user", "content": "hi"}]},
    {"backend": "b", "model": "m", "stream": True, "messages": [], "stream_options": {"include_usage": False}},
    {
        "model": "m",
        "messages": [
            {"role": "system", "content": "be brief"},
            {"role": "user", "content": [{"type": "text", "text": "é"}, {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}]},
            {"role": "assistant", "content": None, "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{\"a\":1}"}}]},
            {"role": "tool", "tool_call_id": "c1", "content": "2"},
        ],
        "tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {"a": {"type": "integer"}}}}}],
        "tool_choice": {"type": "function", "function": {"name": "f"}},
        "response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "object"}}},
        "stop": ["x"], "n": 1, "seed": 7, "reasoning_effort": "low",
    },
    {"model": "m", "max_tokens": 9, "system": [{"type": "text", "text": "s"}], "messages": [{"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t", "content": "r", "is_error": True}]}], "thinking": {"type": "enabled", "budget_tokens": 1024}},
    {"model": "m", "input": [{"type": "message", "role": "user", "content": [{"type": "input_text", "text": "hi"}]}, {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"}, {"type": "function_call_output", "call_id": "c", "output": "1"}], "tools": [{"type": "custom", "name": "patch"}]},
]
ERRORS = [
    {"error": {"message": "slow down", "type": "rate_limit_error", "code": "rate_limit_exceeded"}},
    {"type": "error", "error": {"type": "overloaded_error", "message": "busy"}},
    {"error": {"code": 429, "status": "RESOURCE_EXHAUSTED", "message": "m", "details": [{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "2s"}]}},
    {"object": "error", "message": "maximum context length", "code": 400},
]
# Heads of a form's parts behind `form-data`, as curl, browsers and the SDKs write them, and what is in each.
FORM = [
    (b'; name="file"; filename="\xc3\xbc.wav"\r\nContent-Type: audio/wav', b"RIFF\0\r\n--q\r\n"),
    (b'; name="model"', b"m"),
    (b"; name=backend", b"b"),
    (b'; name="stream"\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: 4', b"true"),
    (b'; name="timestamp_granularities[]"', b"word"),
]
BOUNDARIES = ["q-Z", '"q-Z"', "'()+_-./:=?; charset=utf-8"]
HEADERS = ["2", "0.5", "Wed, 21 Oct 2026 07:28:00 GMT", "1m6s", "2026-10-21T07:28:00Z", ""]


def put(target: str, data: bytes) -> None:
    folder = CORPUS / target
    folder.mkdir(parents=True, exist_ok=True)
    (folder / hashlib.sha256(data).hexdigest()[:16]).write_bytes(data)


def streams(folder: pathlib.Path) -> None:
    for maker, target in (("openai", "stream_openai"), ("anthropic", "stream_anthropic"), ("google", "stream_gemini")):
        for path in sorted((folder / "vercel__ai" / "packages" / maker).rglob("*.chunks.txt")):
            lines = [line for line in path.read_text().splitlines() if line.strip()][:40]
            frames = "".join(f"data: {line}\n\n" for line in lines) + ("data: [DONE]\n\n" if maker == "openai" else "")
            for dialect in range(3):
                put(target, bytes([dialect, 7]) + frames.encode()[:16_000])
        for path in sorted((folder / "vercel__ai" / "packages" / maker).rglob("*.json")):
            for choice in (128, 131, 134):
                put("translate", bytes([choice]) + path.read_bytes()[:16_000])


def main() -> None:
    for request in REQUESTS:
        text = json.dumps(request).encode()
        put("inspect", text)
        for choice in range(9):
            put("translate", bytes([choice]) + text)
        # A frame of zstd with the text as it is: mark, its length, one block.
        size = len(text)
        frame = b"\x28\xb5\x2f\xfd\xa0" + size.to_bytes(4, "little") + (size << 3 | 1).to_bytes(3, "little") + text
        for coding, packed in enumerate((gzip.compress(text, mtime=0), zlib.compress(text), frame)):
            put("unpack", bytes([coding, 7]) + packed)
            put("unpack", bytes([coding, 1]) + packed + packed)
    for written in BOUNDARIES:
        boundary = written.split(";")[0].strip('"').encode()
        for count in range(len(FORM) + 1):
            parts = FORM[-count:] if count else []
            body = b"".join(b"--%s\r\nContent-Disposition: form-data%s\r\n\r\n%s\r\n" % (boundary, *part) for part in parts)
            put("form", b"multipart/form-data; boundary=%s\n%s--%s--\r\n" % (written.encode(), body, boundary))
    for error in ERRORS:
        for choice in range(16):
            header = HEADERS[choice % len(HEADERS)]
            put("classify", bytes([choice, 1, 173]) + header.encode() + b"\n" + json.dumps(error).encode())
    for name in ("default", "demo", "example"):
        put("settings", (HERE.parent / "settings" / f"{name}.toml").read_bytes())
    chunk = {"choices": [{"index": 0, "delta": {"content": "a", "tool_calls": [{"index": 0, "id": "c", "function": {"name": "patch", "arguments": "{\"input\":\"x\"}"}}]}, "finish_reason": "stop"}], "usage": {"prompt_tokens": 1}}
    put("stream_openai", b"\x00\x01data: " + json.dumps(chunk).encode() + b"\r\n\r\ndata: [DONE]\r\n\r\n")
    if len(sys.argv) > 1:
        streams(pathlib.Path(sys.argv[1]))
    for folder in sorted(CORPUS.iterdir()):
        print(f"{folder.name}: {len(list(folder.iterdir()))} seeds")


if __name__ == "__main__":
    main()
