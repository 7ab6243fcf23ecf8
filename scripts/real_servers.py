#!/usr/bin/env python3
"""Runs real LLM servers behind Greenroom while they are stopped, killed and started again, with the openai SDK as the client.

    scripts/real_servers.py --model smollm2 --server vllm 8101 sk-vllm 'start_vllm.sh …' --server llama 8103 sk-llama 'llama-server …'

Each server is its name, port, key and the command that starts it in the foreground. Needs the package `openai` and a
release build (`cargo build --release`), or GREENROOM_BIN. Prints Markdown. Too heavy for CI.
"""

import argparse
import collections
import contextlib
import json
import os
import pathlib
import re
import shlex
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request

import openai

HERE = pathlib.Path(__file__).resolve().parent.parent
WAIT = 300  # Seconds a server may take to load its model.
PROMPTS = ["Name three rivers.", "What is the capital of France?", "Count from one to ten.", "Write a line about rain."]
SETTINGS = """
[defaults.backend]
first_token_soft = "1s"
first_token_hard = "10s"
idle_timeout = "5s"
backoff_min = "500ms"
probe = "models"
probe_every = "1s"
[failover]
hedge_budget = 0.5
retry_budget = 0.5
[users.operator]
token = "operator"
models = ["*"]
backends = ["*"]
admin = true
may_pin = true
"""


class Server:
    """A real LLM server in a process group of its own."""

    def __init__(self, name, port, key, command):
        self.name, self.port, self.key, self.command, self.process = name, int(port), key, command, None

    def start(self):
        self.process = subprocess.Popen(
            shlex.split(self.command), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        )

    def wait(self):
        request = urllib.request.Request(self.url() + "/models", headers={"authorization": f"Bearer {self.key}"})
        deadline = time.monotonic() + WAIT
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise SystemExit(f"{self.name} ended with {self.process.returncode}")
            with contextlib.suppress(OSError), urllib.request.urlopen(request, timeout=5):
                return
            time.sleep(0.5)
        raise SystemExit(f"{self.name} did not answer within {WAIT} s")

    def url(self):
        return f"http://127.0.0.1:{self.port}/v1"

    def signal(self, number):
        """To every process of the server; vLLM has several."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)

    def end(self):
        if self.process is not None:
            self.signal(signal.SIGCONT)
            self.signal(signal.SIGKILL)
            self.process.wait()


class Greenroom:
    """The proxy in front of the servers."""

    def __init__(self, servers, model, folder):
        text = SETTINGS + f'[models."{model}"]\nbackends = ['
        text += ", ".join(f'{{ backend = "{server.name}" }}' for server in servers) + "]\n"
        for server in servers:
            text += f'[backends.{server.name}]\nprotocol = "openai"\nbase_url = "{server.url()}"\napi_key = "{server.key}"\n'
        config = pathlib.Path(folder, "greenroom.toml")
        config.write_text(text, encoding="utf-8")
        binary = os.environ.get("GREENROOM_BIN", HERE / "target/release/greenroom")
        self.process = subprocess.Popen(
            [str(binary), "serve", "--bind", "127.0.0.1:0", "--config", str(config)],
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd=folder,
        )
        self.address = re.search(r"http://\S+", self.process.stdout.readline())[0]

    def url(self):
        return self.address + "/v1"

    def state(self):
        request = urllib.request.Request(self.address + "/admin/backends", headers={"authorization": "Bearer operator"})
        with urllib.request.urlopen(request, timeout=5) as answer:
            return {backend["name"]: backend["state"] for backend in json.load(answer)["backends"]}

    def end(self):
        self.process.terminate()
        self.process.wait()


def ask(client, model, prompt, tokens, pin=None):
    """One stream: (how it ended, backend, attempts, seconds to the first token, seconds in all)."""
    begun, first, backend, attempts = time.monotonic(), None, "none", "0"
    try:
        raw = client.chat.completions.with_raw_response.create(
            model=model, stream=True, temperature=0, max_tokens=tokens,
            messages=[{"role": "user", "content": prompt}], extra_body={"backend": pin} if pin else None,
        )
        backend = raw.headers.get("x-greenroom-backend", "direct")
        attempts = raw.headers.get("x-greenroom-attempts", "1")
        finish = None
        for chunk in raw.parse():
            if chunk.choices:
                if first is None and chunk.choices[0].delta.content:
                    first = time.monotonic() - begun
                finish = chunk.choices[0].finish_reason or finish
        ended = "answered" if finish else "ended without a finish"
    except openai.APIStatusError as error:
        ended, backend = f"error {error.status_code} {error.code}", error.response.headers.get("x-greenroom-backend", "none")
    except openai.APIError as error:
        ended = f"broken off: {error.code or type(error).__name__}" if first else f"error: {type(error).__name__}"
    return ended, backend, attempts, first, time.monotonic() - begun


def connect(url, key):
    """The SDK without its own retries, which would hide what Greenroom does."""
    return openai.OpenAI(base_url=url, api_key=key, max_retries=0, timeout=60)


def direct_and_through(servers, greenroom, model, rounds):
    """First-token time of each server by itself and pinned through Greenroom, by turns."""
    print("\n| server | first token, direct, ms | through Greenroom, ms | added, ms | whole answer, direct, ms | through, ms |")
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    through = connect(greenroom.url(), "operator")
    for server in servers:
        own = connect(server.url(), server.key)
        firsts, wholes = ([], []), ([], [])
        for number in range(rounds + 1):
            order = [(0, own, None), (1, through, server.name)]
            for which, client, pin in order if number % 2 else order[::-1]:
                ended, _, _, first, whole = ask(client, model, PROMPTS[0], 16, pin)
                if ended != "answered":
                    raise SystemExit(f"{server.name} {ended}")
                if number:  # The first round warms connections and prompt caches.
                    firsts[which].append(first * 1e3)
                    wholes[which].append(whole * 1e3)
        (a, b), (c, d) = (map(statistics.median, pair) for pair in (firsts, wholes))
        print(f"| {server.name} | {a:.1f} | {b:.1f} | {b - a:+.1f} | {c:.1f} | {d:.1f} |", flush=True)


class Load:
    """Clients that ask on and on; what became of each request, by phase."""

    def __init__(self, greenroom, model, clients):
        self.phase, self.running, self.seen = "", True, collections.defaultdict(list)
        self.threads = [threading.Thread(target=self.client, args=(greenroom, model, n)) for n in range(clients)]
        for thread in self.threads:
            thread.start()

    def client(self, greenroom, model, number):
        client = connect(greenroom.url(), "operator")
        while self.running:
            phase = self.phase
            self.seen[phase].append(ask(client, model, PROMPTS[number % len(PROMPTS)], 24))
            number += 1

    def during(self, phase, until):
        """Runs one phase until it is over: a number of seconds, or a condition."""
        self.phase, begun = phase, time.monotonic()
        while (time.monotonic() - begun < until) if isinstance(until, (int, float)) else not until():
            if time.monotonic() - begun > WAIT:
                raise SystemExit(f"{phase}: still waiting after {WAIT} s")
            time.sleep(0.1)
        return time.monotonic() - begun

    def end(self):
        self.running = False
        for thread in self.threads:
            thread.join()

    def table(self):
        print("\n| meanwhile | requests | answered by | first token p50, p99, ms | took more than one attempt | not answered |")
        print("| --- | ---: | --- | ---: | ---: | --- |")
        for phase, all_ in self.seen.items():
            good = [one for one in all_ if one[0] == "answered"]
            by = ", ".join(f"{name} {n}" for name, n in sorted(collections.Counter(one[1] for one in good).items()))
            bad = ", ".join(f"{n} {words}" for words, n in collections.Counter(o[0] for o in all_ if o not in good).items())
            firsts = sorted(one[3] * 1e3 for one in good if one[3])
            p50, p99 = (firsts[int(q * (len(firsts) - 1))] if firsts else float("nan") for q in (0.5, 0.99))
            again = sum(one[2] not in ("0", "1") for one in all_)
            print(f"| {phase} | {len(all_)} | {by} | {p50:.0f}, {p99:.0f} | {again} | {bad or 'none'} |", flush=True)


def trouble(servers, greenroom, model, options):
    """Requests go on while the first server is stopped, goes on, is killed, and comes again."""
    victim = servers[0]
    served = lambda: greenroom.state()[victim.name] == "healthy"
    load = Load(greenroom, model, options.clients)
    try:
        load.during("all is well", options.seconds)
        victim.signal(signal.SIGSTOP)
        load.during(f"{victim.name} stopped (SIGSTOP)", options.seconds)
        victim.signal(signal.SIGCONT)
        back = load.during(f"{victim.name} goes on, until its gate is open", served)
        load.during("both again", options.seconds)
        victim.end()
        load.during(f"{victim.name} killed", options.seconds)
        victim.start()
        load.during(f"{victim.name} starts again", lambda: answers(victim))
        again = load.during(f"{victim.name} answers, until its gate is open", served)
        load.during("both once more", options.seconds)
    finally:
        load.end()
    load.table()
    print(f"\nFrom going on to an open gate: {back:.1f} s; from its first answer to an open gate: {again:.1f} s.")


def answers(server):
    """Whether it answers by now."""
    request = urllib.request.Request(server.url() + "/models", headers={"authorization": f"Bearer {server.key}"})
    with contextlib.suppress(OSError), urllib.request.urlopen(request, timeout=1):
        return True
    return False


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--server", nargs=4, action="append", required=True, metavar=("NAME", "PORT", "KEY", "COMMAND"))
    parser.add_argument("--model", required=True, help="what all of them call the model")
    parser.add_argument("--rounds", type=int, default=40, help="streams each way (40)")
    parser.add_argument("--clients", type=int, default=4, help="clients at a time (4)")
    parser.add_argument("--seconds", type=float, default=20, help="length of a phase (20)")
    options = parser.parse_args()
    servers = [Server(*server) for server in options.server]
    with contextlib.ExitStack() as ends, tempfile.TemporaryDirectory() as folder:
        for server in servers:
            ends.callback(server.end)
            server.start()
        for server in servers:
            server.wait()
        greenroom = Greenroom(servers, options.model, folder)
        ends.callback(greenroom.end)
        direct_and_through(servers, greenroom, options.model, options.rounds)
        trouble(servers, greenroom, options.model, options)
    return 0


if __name__ == "__main__":
    sys.exit(main())
