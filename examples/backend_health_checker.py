#!/usr/bin/env python3
# Checks, watches and measures each backend behind Greenroom by pinned requests. Python 3.9 or later, standard library only.
"""Check, watch and measure the backends behind Greenroom, each by requests pinned to it.

Exit code: 0 all healthy, 1 at least one is not, 2 the proxy could not be asked.
"""

import argparse
import http.client
import json
import math
import os
import signal
import ssl
import statistics
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from typing import Dict, List, Optional
from urllib.parse import urlsplit

DEFAULT_URL = "http://127.0.0.1:3000"
DEFAULT_TOKEN = "your-token"
DEFAULT_TIMEOUT = 30.0
# One token proves that a backend answers; a benchmark needs some more to have a pace to measure.
CHECK_TOKENS = 1
BENCHMARK_TOKENS = 32
# What a model that reasons may spend on that beside: it counts both in its limit, and may refuse one that leaves no room.
THOUGHTS = 1024
# Larger than any answer of so few tokens; a backend that sends more than this is broken.
MOST_BYTES = 4 * 1024 * 1024
# Greenroom's word for the backend of what no backend takes.
NO_BACKEND = "none"

EXAMPLES = """\
Examples:
  python3 examples/backend_health_checker.py check
  python3 examples/backend_health_checker.py check --backends openai_official anthropic_claude
  python3 examples/backend_health_checker.py check --streaming
  python3 examples/backend_health_checker.py monitor --interval 60
  python3 examples/backend_health_checker.py benchmark --rounds 3

The address and the token come from --url and --token, or from GREENROOM_URL and GREENROOM_TOKEN. Where server.admin_bind gives
/admin an address of its own, --admin-url or GREENROOM_ADMIN_URL names that.
"""


class CannotAsk(Exception):
    """The proxy itself cannot be asked, so nothing is known of any backend."""


class Incomplete(Exception):
    """A backend's answer that is not a whole one."""


@dataclass
class Outcome:
    """What one pinned request came to. Times are seconds."""

    backend: str
    model: str
    healthy: bool
    status: Optional[int]
    seconds: float
    first_token: Optional[float]
    tokens: Optional[int]
    detail: str

    @property
    def name(self) -> str:
        """What it is called in a table."""
        return self.backend


class Unserved(Outcome):
    """A model that no backend takes requests for."""

    @property
    def name(self) -> str:
        return f"model {self.model}"


class Proxy:
    """Greenroom as a client sees it."""

    def __init__(self, url: str, token: str, timeout: float, admin: Optional["Proxy"] = None):
        # Where /admin is: here, unless server.admin_bind moves it.
        self.admin = admin or self
        # The status with which it was refused the list of backends.
        self.refused: Optional[int] = None
        try:
            parts = urlsplit(url if "://" in url else f"http://{url}")
            port = parts.port
        except ValueError as error:
            raise CannotAsk(f"{url!r} is not an address: {error}") from None
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise CannotAsk(f"{url!r} is not an address such as {DEFAULT_URL}")
        if not token.isprintable() or not token.isascii():
            raise CannotAsk("the token has characters that no HTTP header may carry; check for a stray line end")
        self.tls, self.host, self.port = parts.scheme == "https", parts.hostname, port
        # The SDKs' address ends with /v1, which paths here begin with.
        self.prefix, self.url = parts.path.rstrip("/").removesuffix("/v1"), url
        self.token, self.timeout = token, timeout

    def open(self, method: str, path: str, body: Optional[dict], deadline: float):
        """Sends a request; returns the connection, its socket and the response's head."""
        wait = _left(deadline)
        if self.tls:
            context = ssl.create_default_context()
            connection = http.client.HTTPSConnection(self.host, self.port, timeout=wait, context=context)
        else:
            connection = http.client.HTTPConnection(self.host, self.port, timeout=wait)
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"}
        try:
            data = None if body is None else json.dumps(body).encode()
            connection.request(method, self.prefix + path, body=data, headers=headers)
            # The connection forgets its socket when the response is to end it; each read needs it for the time limit.
            sock = connection.sock
            sock.settimeout(_left(deadline))
            return connection, sock, connection.getresponse()
        except BaseException:
            connection.close()
            raise

    def get(self, path: str):
        """A GET that has to work: status and JSON."""
        deadline = time.monotonic() + self.timeout
        try:
            connection, sock, response = self.open("GET", path, None, deadline)
            try:
                text = b"".join(_pieces(sock, response, deadline))
            finally:
                connection.close()
        except (OSError, http.client.HTTPException, Incomplete) as error:
            raise CannotAsk(f"{self.url} cannot be asked: {_words(error)}") from None
        if response.status == 401:
            raise CannotAsk(f"{self.url} does not know this token; set --token or GREENROOM_TOKEN")
        try:
            return response.status, json.loads(text)
        except ValueError:
            raise CannotAsk(f"{self.url}{path} does not answer as Greenroom does; is the address right?") from None

    def listed(self):
        """Status and JSON of the list of backends. Each refusal is a line in Greenroom's log, so that one has to do."""
        if self.refused:
            return self.refused, {}
        status, listed = self.admin.get("/admin/backends")
        self.refused = status if status in (403, 404) else None
        return status, listed

    def ask(self, backend: str, model: str, prompt: str, tokens: int, streaming: bool) -> Outcome:
        """One request pinned to `backend`; another where its model reasons, and says so. Never raises for what a backend does."""
        outcome = self.put(backend, model, prompt, {"max_tokens": tokens}, streaming)
        if outcome.status == 400 and "max_completion_tokens" in outcome.detail:
            # It knows the limit by that name only, and counts its thoughts in it.
            outcome = self.put(backend, model, prompt, {"max_completion_tokens": tokens + THOUGHTS}, streaming)
        return outcome

    def put(self, backend: str, model: str, prompt: str, limit: dict, streaming: bool) -> Outcome:
        began = time.monotonic()
        body = {"model": model, "backend": backend, "messages": [{"role": "user", "content": prompt}], **limit}
        if streaming:
            body["stream"] = True
            body["stream_options"] = {"include_usage": True}
        status, first, used, healthy, detail = None, None, None, False, ""
        try:
            deadline = began + self.timeout
            connection, sock, response = self.open("POST", "/v1/chat/completions", body, deadline)
            try:
                status = response.status
                pieces = _pieces(sock, response, deadline)
                if status != 200:
                    detail = _error_words(b"".join(pieces))
                elif streaming:
                    first, used, detail = _read_stream(pieces, began)
                    healthy = True
                else:
                    used, detail = _read_whole(b"".join(pieces))
                    healthy = True
            finally:
                connection.close()
        except (OSError, http.client.HTTPException, Incomplete) as error:
            detail = _words(error)
        return Outcome(backend, model, healthy, status, time.monotonic() - began, first, used, detail)


def _left(deadline: float) -> float:
    """Seconds until the deadline, as a socket's timeout: never 0, which would mean "do not block"."""
    return max(deadline - time.monotonic(), 0.001)


def _pieces(sock, response, deadline: float):
    """The body as it comes. The deadline holds for all of it, so that a slow drip cannot hold us for ever."""
    size, declared = 0, response.length
    # Up to Python 3.12 read1 forgets to count: asked for more than the declared length, it would wait for the next response.
    while declared is None or size < declared:
        if time.monotonic() >= deadline:
            raise TimeoutError
        sock.settimeout(_left(deadline))
        piece = response.read1(65536)
        if not piece:
            break
        size += len(piece)
        if size > MOST_BYTES:
            raise Incomplete(f"the answer is longer than {MOST_BYTES} bytes")
        yield piece
    if declared is not None and size < declared:
        raise Incomplete("the answer is cut short")


def _read_whole(data: bytes):
    """Tokens and first words of an answer in one piece."""
    try:
        answer = json.loads(data)
        message = answer["choices"][0]["message"]
        usage = answer.get("usage") or {}
        return usage.get("completion_tokens"), _first_words(message.get("content") or message.get("reasoning_content"))
    except (ValueError, LookupError, TypeError, AttributeError):
        raise Incomplete("the answer is not a chat completion") from None


def _read_stream(pieces, began: float):
    """First-token time, tokens and first words of a stream; only one that ends with [DONE] is whole."""
    first, used, text, rest, done = None, None, "", b"", False
    for piece in pieces:
        *lines, rest = (rest + piece).split(b"\n")
        for line in lines:
            line = line.rstrip(b"\r")
            if not line.startswith(b"data:"):
                continue
            data = line[5:].strip()
            if data == b"[DONE]":
                done = True
                continue
            try:
                frame = json.loads(data)
                if frame.get("error"):
                    raise Incomplete(f"error in the stream: {_error_words(data)}")
                usage = frame.get("usage") or {}
                used = usage.get("completion_tokens", used)
                for choice in frame.get("choices") or []:
                    delta = choice.get("delta") or {}
                    words = delta.get("content") or delta.get("reasoning_content") or ""
                    if words and first is None:
                        first = time.monotonic() - began
                    text += words
            except (ValueError, TypeError, AttributeError):
                raise Incomplete("a frame of the stream is not a chat completion chunk") from None
    if not done:
        raise Incomplete("the stream ended without [DONE]")
    return first, used, _first_words(text)


def _first_words(text: Optional[str]) -> str:
    words = " ".join((text or "").split())
    return json.dumps(words if len(words) <= 40 else words[:39] + "…", ensure_ascii=False)


def _error_words(data: bytes) -> str:
    """An error body in one line: code and message."""
    try:
        error = json.loads(data)["error"]
        text = f"{error.get('code') or error.get('type') or 'error'}: {error.get('message', '')}"
    except (ValueError, LookupError, TypeError, AttributeError):
        text = data.decode("utf-8", "replace") or "no body"
    # What a backend sends may hold control characters; they stay out of the terminal.
    return "".join(c if c.isprintable() else " " for c in text).strip()[:200]


def _words(error: BaseException) -> str:
    if isinstance(error, TimeoutError):
        return "no complete answer in time"
    text = getattr(error, "strerror", None) or str(error)
    return str(text) or type(error).__name__


@dataclass
class Target:
    """A backend, and the model to ask it for."""

    backend: str
    model: str


def targets(proxy: Proxy, names: Optional[List[str]], model: Optional[str]) -> List[Target]:
    """What to ask: the backends named, else all that /admin/backends lists; the model named, else the first that each serves."""
    # Asked in any case, and free: it tells an absent proxy or a wrong token from a failing backend.
    status, listed = proxy.get("/v1/models")
    if status == 404:
        raise CannotAsk(
            f"{proxy.url} serves no models; if it is the address of server.admin_bind, give it as --admin-url, and the clients' "
            "as --url"
        )
    try:
        models = [entry["id"] for entry in listed["data"]] if status == 200 else []
        serves = {}
        if not (names and model):
            status, listed = proxy.listed()
            if status == 200:
                serves = {b["name"]: sorted(m["model"] for m in b.get("models", [])) for b in listed["backends"]}
            elif not names and status == 404:
                raise CannotAsk(
                    f"/admin/backends is not at {proxy.admin.url}; give the address of server.admin_bind with --admin-url or "
                    "GREENROOM_ADMIN_URL, or name the backends with --backends"
                )
            elif not names:
                raise CannotAsk(
                    f"this token may not list the backends (HTTP {status} from /admin/backends); name them with "
                    "--backends, or use an admin's token"
                )
    except (LookupError, TypeError, AttributeError):
        raise CannotAsk(f"{proxy.url} does not answer as Greenroom does; is the address right?") from None
    wanted = list(dict.fromkeys(names or serves))
    if not wanted:
        raise CannotAsk("no backend is configured")
    if not model and not models:
        raise CannotAsk("this token may use no model")
    return [Target(name, model or (serves.get(name) or models)[0]) for name in wanted]


def ask_all(proxy: Proxy, wanted: List[Target], prompt: str, tokens: int, streaming: bool) -> List[Outcome]:
    """One request to each backend, side by side."""
    with ThreadPoolExecutor(max_workers=min(len(wanted), 32)) as pool:
        return list(pool.map(lambda t: proxy.ask(t.backend, t.model, prompt, tokens, streaming), wanted))


def unserved(proxy: Proxy, wanted: List[Target], asked: Optional[str]) -> Optional[List[Outcome]]:
    """The models that no backend takes requests for: a backend was asked for one model only. None: that cannot be known."""
    try:
        status, listed = proxy.listed()
        if status != 200:
            return None
        models = {one["model"]: one["reasons"] for one in listed["unserved"]}
    except (CannotAsk, LookupError, TypeError):
        return None
    backends = {target.backend for target in wanted}
    return [
        Unserved(NO_BACKEND, model, False, None, 0.0, None, None, "no backend takes requests for it; " + _reasons(reasons))
        for model, reasons in models.items()
        if backends & set(reasons) and (asked is None or asked == model)
    ]


def _reasons(reasons: Dict[str, str]) -> str:
    return "; ".join(f"{name}: {why}" for name, why in reasons.items())


def _seconds(value: Optional[float]) -> str:
    return "-" if value is None else f"{value:.3f} s"


def table(rows: List[List[str]]) -> str:
    """Columns as wide as they need to be; the last one runs free."""
    widths = [max(len(row[n]) for row in rows) for n in range(len(rows[0]) - 1)]
    lines = ("  ".join([*(cell.ljust(width) for cell, width in zip(row, widths)), row[-1]]) for row in rows)
    return "\n".join(line.rstrip() for line in lines)


def print_outcomes(outcomes: List[Outcome]) -> None:
    rows = [["BACKEND", "STATUS", "CODE", "TIME", "FIRST TOKEN", "ANSWER"]]
    for o in outcomes:
        word, code = ("healthy" if o.healthy else "FAILED"), str(o.status or "-")
        rows.append([o.name, word, code, _seconds(o.seconds), _seconds(o.first_token), o.detail])
    print(table(rows))


def summary(outcomes: List[Outcome]) -> str:
    failing = [o.name for o in outcomes if not o.healthy]
    backends = [o.healthy for o in outcomes if not isinstance(o, Unserved)]
    text = f"{sum(backends)} of {len(backends)} backends are healthy"
    return text + (f"; failing: {', '.join(failing)}" if failing else "")


def check(proxy: Proxy, args) -> int:
    """Asks every backend once."""
    wanted = targets(proxy, args.backends, args.model)
    outcomes = ask_all(proxy, wanted, "ping", CHECK_TOKENS, args.streaming)
    outcomes += unserved(proxy, wanted, args.model) or []
    healthy = all(o.healthy for o in outcomes)
    if args.json:
        print(json.dumps({"healthy": healthy, "backends": [asdict(o) for o in outcomes]}, ensure_ascii=False, indent=2))
    else:
        print_outcomes(outcomes)
        print(summary(outcomes))
    return 0 if healthy else 1


def monitor(proxy: Proxy, args) -> int:
    """Asks every backend again and again, until Ctrl-C or the number of rounds asked for."""
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    wanted = targets(proxy, args.backends, args.model)
    last: Dict[str, bool] = {}
    good: Dict[str, int] = {target.backend: 0 for target in wanted}
    models: Dict[str, Outcome] = {}
    rounds = 0
    while not stop.is_set():
        began = time.monotonic()
        outcomes = ask_all(proxy, wanted, "ping", CHECK_TOKENS, args.streaming)
        now_out = unserved(proxy, wanted, args.model)
        if now_out is not None:
            models = {name: replace(o, healthy=True, detail="") for name, o in models.items()}
            models.update((o.name, o) for o in now_out)
        outcomes += models.values()
        rounds += 1
        print(time.strftime("%Y-%m-%d %H:%M:%S"), summary(outcomes))
        for o in outcomes:
            good[o.name] = good.get(o.name, 0) + o.healthy
            if last.get(o.name, o.healthy) != o.healthy:
                print(f"  CHANGED  {o.name} {'is healthy again' if o.healthy else 'fails now'}")
            last[o.name] = o.healthy
        print_outcomes(outcomes)
        sys.stdout.flush()
        if args.count and rounds >= args.count:
            break
        stop.wait(max(0.0, args.interval - (time.monotonic() - began)))
    print(f"\n{rounds} rounds:")
    for name, count in good.items():
        share = f"{100 * count / rounds:.1f} %" if rounds else "never asked"
        print(f"  {name}: {share}, {'healthy' if last.get(name) else 'FAILED'} at last")
    return 0 if last and all(last.values()) else 1


def quantile(sorted_values: List[float], q: float) -> float:
    """The nearest-rank quantile: a value that was really measured, also of few."""
    return sorted_values[max(0, math.ceil(q * len(sorted_values)) - 1)]


def _pace(outcome: Outcome) -> Optional[float]:
    """Tokens per second of an answer, after the first one where it was seen to come."""
    generating = outcome.seconds - (outcome.first_token or 0.0)
    return outcome.tokens / generating if outcome.healthy and outcome.tokens is not None and generating > 0 else None


def benchmark(proxy: Proxy, args) -> int:
    """Several rounds; all backends in each, one after the other, so that they do not disturb one another."""
    wanted = targets(proxy, args.backends, args.model)
    results: Dict[str, List[Outcome]] = {target.backend: [] for target in wanted}
    for number in range(1, args.rounds + 1):
        for target in wanted:
            if sys.stderr.isatty():
                print(f"\r\x1b[Kround {number} of {args.rounds}: {target.backend}", end="", file=sys.stderr, flush=True)
            outcome = proxy.ask(target.backend, target.model, "Count to ten.", BENCHMARK_TOKENS, args.streaming)
            results[target.backend].append(outcome)
    if sys.stderr.isatty():
        print("\r\x1b[K", end="", file=sys.stderr)
    rows = [["BACKEND", "SUCCESS", "MIN", "MEAN", "P50", "P95", "MAX", "FIRST TOKEN", "TOKENS/S", ""]]
    means = {
        name: statistics.fmean(o.seconds for o in outcomes if o.healthy)
        for name, outcomes in results.items()
        if any(o.healthy for o in outcomes)
    }
    # Who fails now and then is not the fastest, however quick the rest.
    sound = [name for name in means if all(o.healthy for o in results[name])]
    fastest = min(sound, key=means.__getitem__, default=None)
    for name, outcomes in results.items():
        # Only answers count as times: a backend that fails fast is not a fast one.
        times = sorted(o.seconds for o in outcomes if o.healthy)
        firsts = [o.first_token for o in outcomes if o.healthy and o.first_token is not None]
        paces = [pace for pace in map(_pace, outcomes) if pace is not None]
        measured = [min(times), means[name], quantile(times, 0.5), quantile(times, 0.95), max(times)] if times else [None] * 5
        rows.append(
            [
                name,
                f"{len(times)}/{len(outcomes)}",
                *map(_seconds, measured),
                _seconds(statistics.fmean(firsts) if firsts else None),
                f"{statistics.fmean(paces):.0f}" if paces else "-",
                "fastest" if name == fastest else "",
            ]
        )
    print(table(rows))
    for name, outcomes in results.items():
        detail = next((o.detail for o in outcomes if not o.healthy), None)
        if detail is not None:
            print(f"{name}: {detail}")
    return 0 if all(o.healthy for outcomes in results.values() for o in outcomes) else 1


def _positive(kind):
    def read(text: str):
        value = kind(text)
        if not 0 < value < math.inf:
            raise ValueError(text)
        return value

    read.__name__ = f"positive {kind.__name__}"  # what argparse calls a wrong value
    return read


def arguments(argv: Optional[List[str]] = None) -> argparse.Namespace:
    def common(suppressed: bool) -> argparse.ArgumentParser:
        # Below the subcommand nothing has a default, else it would overwrite what stood before the subcommand.
        def default(value):
            return argparse.SUPPRESS if suppressed else value

        parser = argparse.ArgumentParser(add_help=False)
        url = os.environ.get("GREENROOM_URL") or DEFAULT_URL
        parser.add_argument("--url", default=default(url), help="Greenroom's address")
        admin = os.environ.get("GREENROOM_ADMIN_URL") or None
        parser.add_argument("--admin-url", default=default(admin), help="address of server.admin_bind (default: that of --url)")
        token = os.environ.get("GREENROOM_TOKEN") or DEFAULT_TOKEN
        parser.add_argument("--token", default=default(token), help="the token of a user who may pin")
        parser.add_argument("--model", default=default(None), help="the public model (default: the first one served)")
        parser.add_argument(
            "--timeout", type=_positive(float), default=default(DEFAULT_TIMEOUT), metavar="S",
            help="seconds for one whole answer (default: 30)",
        )  # fmt: skip
        return parser

    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter, parents=[common(False)]
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="{check,monitor,benchmark}")

    def command(run, text: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(run.__name__, help=text, description=run.__doc__, parents=[common(True)])
        sub.add_argument("--backends", nargs="+", metavar="NAME", help="which to ask (default: all; needs an admin's token)")
        sub.add_argument("--streaming", action="store_true", help="ask for a stream, and time its first token")
        sub.set_defaults(run=run)
        return sub

    command(check, "ask every backend once").add_argument("--json", action="store_true", help="for scripts")
    sub = command(monitor, "ask again and again; Ctrl-C ends with a summary")
    sub.add_argument("--interval", type=_positive(float), default=60.0, metavar="S", help="seconds between rounds (default: 60)")
    sub.add_argument("--count", type=_positive(int), metavar="N", help="end after N rounds (default: never)")
    sub = command(benchmark, "measure over several rounds")
    sub.add_argument("--rounds", type=_positive(int), default=3, metavar="N", help="requests to each backend (default: 3)")
    return parser.parse_args(argv)


def main() -> int:
    args = arguments()
    try:
        admin = Proxy(args.admin_url, args.token, args.timeout) if args.admin_url else None
        return args.run(Proxy(args.url, args.token, args.timeout, admin), args)
    except CannotAsk as error:
        print(f"backend_health_checker: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:
        # The reader of our output has left, as `head` does; there is nobody to tell.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
