# Owns the recordings of the real services and a provider that plays them: the bytes of one answer, cut as a test wants.

import http.server
import json
import os
import socketserver
import threading
import zlib
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
# Folder of the recordings' makers to the protocol that they speak.
MAKERS = {
    "anthropic": "anthropic",
    "google": "gemini",
    "openai": "openai",
    "azure": "openai",
    "deepseek": "openai",
    "groq": "openai",
}


@dataclass(frozen=True)
class Recording:
    """One answer of a provider."""

    name: str
    protocol: str
    body: bytes
    stream: bool


def folder():
    """The folder of the recordings; their absence is a failure in CI and a skip elsewhere."""
    found = Path(os.environ.get("GREENROOM_FIXTURES", ROOT.parent / "shared" / "fixtures"))
    if found.is_dir():
        return found
    if os.environ.get("CI") == "true":
        pytest.exit(f"no recordings at {found}", returncode=2)
    return None


def sse(protocol, values):
    """A stream of these values as the protocol frames it."""
    out = []
    for value in values:
        event = f"event: {value['type']}\n" if protocol == "anthropic" else ""
        out.append(f"{event}data: {json.dumps(value)}\n\n")
    return ("".join(out) + ("data: [DONE]\n\n" if protocol == "openai" else "")).encode()


def is_chat(protocol, value):
    """Whether this is of the endpoint that translation is about: the same folders hold others."""
    return protocol != "openai" or value.get("object", "").startswith("chat.completion")


def lines(path, protocol):
    """The streams of a file of lines: some hold several, one after the other."""
    streams = [[]]
    for line in path.read_text().splitlines():
        if line.strip():
            value = json.loads(line)
            if value.get("type") == "message_start" and streams[-1]:
                streams.append([])
            streams[-1].append(value)
    for at, values in enumerate(streams):
        if any(is_chat(protocol, value) and value.get("object") != "" for value in values[:2]):
            yield Recording(f"{path.name}-{at}", protocol, sse(protocol, values), True)


def inflate(body):
    """A cassette's body, which may be packed, and may have been cut before its checksum."""
    body = body.encode() if isinstance(body, str) else body
    if body[:2] == b"\x1f\x8b":
        unpacked = zlib.decompressobj(31)
        return unpacked.decompress(body) + unpacked.flush()
    return body


def cassette(path, protocol):
    """The chats of a VCR cassette."""
    for at, interaction in enumerate(yaml.safe_load(path.read_text())["interactions"]):
        uri = interaction["request"]["uri"]
        if not uri.endswith(("/v1/messages", ":streamGenerateContent", ":generateContent")):
            continue
        body = inflate(interaction["response"]["body"]["string"])
        if body[:1] == b"[":
            # Google's streams are arrays where nobody asked for events.
            body = sse(protocol, json.loads(body))
        yield Recording(f"{path.name}-{at}", protocol, body, body[:1] != b"{")


def recordings():
    """All of them."""
    found = folder()
    if found is None:
        return []
    all_of_them = []
    for maker, protocol in MAKERS.items():
        place = found / "vercel__ai" / "packages" / maker
        for path in sorted(place.rglob("*.chunks.txt")):
            all_of_them += lines(path, protocol)
        for path in sorted(place.rglob("*.json")):
            value = json.loads(path.read_text())
            if is_chat(protocol, value) and "error" not in value:
                all_of_them.append(Recording(path.name, protocol, path.read_bytes(), False))
    for place, protocol in (("simonw__llm-anthropic", "anthropic"), ("simonw__llm-gemini", "gemini")):
        for path in sorted((found / place).rglob("*.yaml")):
            all_of_them += cassette(path, protocol)
    assert all_of_them, f"nothing is recorded at {found}"
    return all_of_them


class Player(socketserver.ThreadingMixIn, http.server.HTTPServer):
    """A provider that answers whatever is asked with one recording, in pieces of `cut` bytes."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.recording = None
        self.cut = 1 << 20
        self.url = f"http://127.0.0.1:{self.server_port}"
        threading.Thread(target=self.serve_forever, daemon=True).start()


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_POST(self):  # noqa: N802, the name is the library's
        self.rfile.read(int(self.headers["content-length"]))
        body = self.server.recording.body
        self.send_response(200)
        self.send_header("content-type", "text/event-stream" if self.server.recording.stream else "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        for at in range(0, len(body), self.server.cut):
            self.wfile.write(body[at : at + self.server.cut])
            self.wfile.flush()

    def log_message(self, *_):
        pass
