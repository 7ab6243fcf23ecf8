"""Owns the soak's clients: each request has exactly one outcome, judged word by word."""

import asyncio
import json

from backends import words

# Nothing may take longer: the proxy's own deadline is shorter.
PATIENCE = 30


class Violation(Exception):
    """An answer that no client should ever get."""


async def request(addr, method, path, token, body=b"", extra=""):
    """Sends a request on a connection of its own; reader, writer, status and headers of the answer."""
    reader, writer = await asyncio.open_connection(*addr)
    lines = f"{method} {path} HTTP/1.1\r\nhost: soak\r\nauthorization: Bearer {token}\r\n{extra}"
    writer.write(f"{lines}content-length: {len(body)}\r\n\r\n".encode() + body)
    await writer.drain()
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    lines = head.split("\r\n")
    headers = {k.lower(): v.strip() for k, _, v in (line.partition(":") for line in lines[1:] if line)}
    return reader, writer, int(lines[0].split()[1]), headers


async def read_body(reader, headers):
    """The body and whether it came to its proper end."""
    if "content-length" in headers:
        return await reader.readexactly(int(headers["content-length"])), True
    body = b""
    while True:
        size = await reader.readline()
        if not size.endswith(b"\n"):
            return body, False
        if int(size, 16) == 0:
            return body, await reader.readline() == b"\r\n"
        try:
            body += await reader.readexactly(int(size, 16))
        except asyncio.IncompleteReadError as short:
            return body + short.partial, False
        await reader.readline()


async def fetch(addr, method, path, token):
    """Status and JSON of an operator's request."""
    reader, writer, status, headers = await request(addr, method, path, token)
    try:
        body, _ = await read_body(reader, headers)
        return status, json.loads(body or b"null")
    finally:
        writer.close()


def judge(status, body, clean, stream, text):
    """The outcome in one word, or a violation."""
    if status != 200:
        error = json.loads(body)["error"]
        if not clean or status not in (429, 502, 503, 504) or not error["code"]:
            raise Violation(f"odd error {status} {body[:300]!r}")
        return error["code"]
    if not stream:
        said = json.loads(body)["choices"][0]["message"]["content"]
        if not clean or said != text:
            raise Violation(f"a wrong whole answer: {said[:200]!r}")
        return "success"
    said, done, error = "", False, None
    for line in body.decode().split("\n"):
        if line == "data: [DONE]":
            done = True
        elif line.startswith("data: "):
            data = json.loads(line[6:])
            error = data.get("error") or error
            for choice in data.get("choices", []):
                said += choice["delta"].get("content") or ""
    if done and clean and not error and said == text:
        return "success"
    if not done and error and text.startswith(said):
        return "broken off: " + error["code"]
    fault = f"done={done} clean={clean} error={error} said {len(said)} of {len(text)}"
    raise Violation(f"a stream that is neither whole nor ended with an error: {fault} {said[-80:]!r}")


async def chat(addr, token, name, rng, pin=None):
    """One chat request, pinned or not; its outcome. Now and then the client leaves early."""
    count, stream = rng.randrange(3, 60), rng.random() < 0.7
    message = {"role": "user", "content": f"{name} {count}"}
    pinned = {"backend": pin} if pin else {}
    body = json.dumps({"model": "m", "stream": stream, "messages": [message], **pinned}).encode()
    extra = f"x-request-id: {name}\r\ncontent-type: application/json\r\n"
    leaves = rng.random() < 0.05

    async def whole():
        reader, writer, status, headers = await request(addr, "POST", "/v1/chat/completions", token, body, extra)
        try:
            if leaves:
                return "left"
            answer, clean = await read_body(reader, headers)
            return judge(status, answer, clean, stream, words(name, count))
        finally:
            writer.close()

    try:
        return await asyncio.wait_for(whole(), rng.random() * 0.2 if leaves else PATIENCE)
    except asyncio.TimeoutError as late:
        if leaves:
            return "left"
        raise Violation("no outcome at all") from late
    except (ConnectionError, asyncio.IncompleteReadError) as lost:
        raise Violation(f"the proxy broke the connection without a word: {lost!r}") from lost
    except (ValueError, KeyError, TypeError) as odd:
        raise Violation(f"not an answer: {odd!r}") from odd
