"""Owns the soak's backends: they say what a request's own words decide, and fail in every way at random."""

import asyncio
import json
import random
import socket
import struct

# Share of requests that a backend spoils, and how; the rest are answered in order. More would shut every gate for good:
# a few failures in a row are enough for that.
SPOILED = 0.1
FAULTS = [
    "reset", "close", "hang", "slow", "500", "503", "429", "garbage", "not_json", "empty", "error_in_200",
    "cut", "cut_hard", "stall", "one_malformed", "two_malformed", "no_done",
]


def words(name, count):
    """The text of a request: the same from every backend, so that a broken stream can be replayed."""
    return "".join(f"{name}-{n} " for n in range(count))


def frame(delta, finish=None):
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return b"data: " + json.dumps({"object": "chat.completion.chunk", "choices": [choice]}).encode() + b"\n\n"


def chunk(data):
    return b"%x\r\n%s\r\n" % (len(data), data)


def head(status, kind, framing):
    return f"HTTP/1.1 {status} Soak\r\ncontent-type: {kind}\r\n{framing}\r\n\r\n".encode()


def plain(status, body, extra=""):
    return head(status, "application/json", f"{extra}content-length: {len(body)}") + body


class Backend:
    """One backend on a port of its own, which it keeps through its own downtimes."""

    def __init__(self, seed):
        self.rng = random.Random(seed)
        self.spoils = True
        self.server = None
        self.port = 0
        self.writers = set()
        self.asked = 0

    async def start(self):
        self.server = await asyncio.start_server(self.serve, "127.0.0.1", self.port, backlog=1024)
        self.port = self.server.sockets[0].getsockname()[1]

    async def stop(self):
        """Goes down: closes its port, and every connection with a reset."""
        self.server.close()
        for writer in list(self.writers):
            self.reset(writer)

    @staticmethod
    def reset(writer):
        raw = writer.get_extra_info("socket")
        if raw is not None and not writer.is_closing():
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.close()

    async def serve(self, reader, writer):
        self.writers.add(writer)
        try:
            while await self.answer(reader, writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError):
            # The proxy may let go of a backend at any moment; that is not ours to judge here.
            pass
        finally:
            self.writers.discard(writer)
            writer.close()

    async def answer(self, reader, writer):
        """Answers one request; false if the connection is of no further use."""
        request = await reader.readuntil(b"\r\n\r\n")
        length = [line for line in request.lower().split(b"\r\n") if line.startswith(b"content-length:")]
        body = json.loads(await reader.readexactly(int(length[0].split(b":")[1])) if length else b"{}")
        self.asked += 1
        name, count = body["messages"][0]["content"].split()
        fault = self.rng.choice(FAULTS) if self.spoils and self.rng.random() < SPOILED else None
        early = {
            "close": b"",
            "garbage": b"220 smtp ready\r\n\r\n",
            "not_json": plain(200, b"<html>"),
            "empty": plain(200, b""),
            "error_in_200": plain(200, b'{"error":{"message":"no","type":"server_error"}}'),
            "500": plain(500, b'{"error":{"message":"no"}}'),
            "503": plain(503, b'{"error":{"message":"no"}}'),
            "429": plain(429, b'{"error":{"message":"no"}}', "retry-after-ms: 200\r\n"),
        }
        if fault == "reset":
            self.reset(writer)
            return False
        if fault == "hang":
            await reader.read()
            return False
        if fault == "slow":
            await asyncio.sleep(0.7)
        if fault in early:
            writer.write(early[fault])
            await writer.drain()
            return fault not in ("close", "garbage")
        if body.get("stream"):
            return await self.stream(reader, writer, words(name, int(count)), fault)
        return await self.whole(writer, words(name, int(count)), fault)

    async def whole(self, writer, text, fault):
        message = {"role": "assistant", "content": text}
        body = json.dumps({"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}).encode()
        answer = plain(200, body)
        short = fault in ("cut", "cut_hard", "stall")
        writer.write(answer[:-9] if short else answer)
        await writer.drain()
        return not short

    async def stream(self, reader, writer, text, fault):
        writer.write(head(200, "text/event-stream", "transfer-encoding: chunked"))
        writer.write(chunk(frame({"role": "assistant", "content": ""})))
        pieces = text.split(" ")[:-1]
        stop = self.rng.randrange(1, len(pieces)) if fault else None
        for n, piece in enumerate(pieces):
            if n == stop:
                if fault == "cut":
                    return False
                if fault == "cut_hard":
                    await asyncio.sleep(0.01)
                    self.reset(writer)
                    return False
                if fault == "stall":
                    await reader.read()
                    return False
                if fault in ("one_malformed", "two_malformed"):
                    writer.write(chunk(b"data: {\n\n") * (1 if fault == "one_malformed" else 2))
            writer.write(chunk(frame({"content": piece + " "})))
            await writer.drain()
            if self.rng.random() < 0.2:
                await asyncio.sleep(0.002)
        writer.write(chunk(frame({}, "stop")))
        writer.write((b"" if fault == "no_done" else chunk(b"data: [DONE]\n\n")) + b"0\r\n\r\n")
        await writer.drain()
        return True
