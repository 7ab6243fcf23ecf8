"""The mock backends, the load generator, and the two proxies between them: how each is configured and started."""

import contextlib
import glob
import json
import os
import pathlib
import re
import shutil
import socket
import string
import subprocess
import tempfile
import threading
import time
import urllib.request

import machine

HERE = pathlib.Path(__file__).parent
BUILD = pathlib.Path(os.environ.get("BENCH_BUILD", "target/release"))
UPSTREAM_KEY = "sk-upstream-bench"
CLIENT_TOKEN = "sk-client-0000000000000001"
OPERATOR_TOKEN = "sk-operator-00000000000001"


def free_port():
    """A port nobody has now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def load(mode, *options, to, key=CLIENT_TOKEN, **popen):
    """Starts the load generator on its core."""
    targets = [part for address in to for part in ("--to", address)]
    command = [BUILD / "examples/bench_load", *targets, "--key", key, mode, *options]
    return machine.start(command, machine.LOAD_CORE, stdout=subprocess.PIPE, text=True, **popen)


def load_result(mode, *options, to, **more):
    """Runs the load generator to its end and gives what it counted."""
    process = load(mode, *options, to=to, **more)
    out, _ = process.communicate(timeout=300)
    machine.running.remove(process)
    if process.returncode != 0:
        raise RuntimeError(f"the load generator failed: {mode} {options}")
    return json.loads(out.splitlines()[-1])


class Upstream:
    """A process of mock backends, on the core of the load."""

    def __init__(self, backends, key=None):
        listen = ["--listen", "127.0.0.1:0"] * backends
        command = [BUILD / "examples/bench_upstream", *listen, *(["--key", key] if key else [])]
        self.process = machine.start(command, machine.LOAD_CORE, stdout=subprocess.PIPE, text=True)
        self.addresses = [self.process.stdout.readline().strip() for _ in range(backends)]
        if not self.addresses[-1]:
            raise RuntimeError("the mock backends did not start")

    def stats(self):
        """The counters of all its backends."""
        host, port = self.addresses[0].split(":")
        with socket.create_connection((host, int(port)), 5) as sock:
            sock.sendall(b"GET /stats HTTP/1.1\r\nhost: x\r\n\r\n")
            data = b""
            while not data.endswith(b"}"):
                data += sock.recv(65536)
        return json.loads(data.split(b"\r\n\r\n", 1)[1])


class Proxy:
    """A proxy process; subclasses know its settings and its binary."""

    name = ""
    template = ""

    def __init__(self, upstream):
        self.upstream = upstream
        self.process = self.run = self.address = self.log = None

    def command(self):
        """The command line that starts it."""
        raise NotImplementedError

    def settings(self):
        """What its template is filled with."""
        raise NotImplementedError

    def start(self, prefix=(), patience=20.0):
        """Starts it and gives the seconds until it answered a first request."""
        self.run = pathlib.Path(tempfile.mkdtemp(prefix=f"bench-{self.name}-"))
        port = free_port()
        self.address = f"127.0.0.1:{port}"
        values = {"PORT": port, "RUN": self.run, "KEY": UPSTREAM_KEY, **self.settings()}
        text = string.Template((HERE / self.template).read_text(encoding="utf-8")).substitute(values)
        (self.run / self.template).write_text(text, encoding="utf-8")
        self.log = open(self.run / "log", "wb")
        begin = time.monotonic()
        self.process = machine.start(
            [*prefix, *self.command()], machine.PROXY_CORE, stdout=self.log, stderr=self.log, cwd=self.run
        )
        while not self.answers(port):
            if self.process.poll() is not None or time.monotonic() - begin > patience:
                said = (self.run / "log").read_text(encoding="utf-8", errors="replace")[-2000:]
                raise RuntimeError(f"{self.name} does not answer:\n{said}")
            time.sleep(0.001)
        return time.monotonic() - begin

    def answers(self, port):
        """Whether one request gets its 200."""
        body = b'{"model":"bench-model","messages":[{"role":"user","content":"bench:0:0:0:"}]}'
        head = (
            f"POST /v1/chat/completions HTTP/1.1\r\nhost: {self.address}\r\nauthorization: Bearer {CLIENT_TOKEN}\r\n"
            f"content-type: application/json\r\nconnection: close\r\ncontent-length: {len(body)}\r\n\r\n"
        )
        try:
            with socket.create_connection(("127.0.0.1", port), 10) as sock:
                sock.sendall(head.encode() + body)
                return sock.recv(4096).startswith(b"HTTP/1.1 200")
        except OSError:
            return False

    def scraping(self):
        """Scrapes its metrics meanwhile, where that is measured."""
        return contextlib.nullcontext()

    def stop(self):
        """Ends it and removes its files."""
        if self.process:
            machine.stop(self.process)
            self.log.close()
            shutil.rmtree(self.run, ignore_errors=True)
            self.process = None


class Nginx(Proxy):
    """nginx, Debian's package."""

    name = "nginx"
    template = "nginx.conf"

    def command(self):
        return ["nginx", "-p", self.run, "-c", self.run / self.template]

    def settings(self):
        servers = " ".join(f"server {address} max_fails=0;" for address in self.upstream.addresses)
        # As root its worker would become a user that cannot reach the run's folder.
        return {"SERVERS": servers, "USER_LINE": "user root;" if os.geteuid() == 0 else "", "NEXT_LINE": ""}

    @staticmethod
    def version():
        said = subprocess.run(["nginx", "-v"], capture_output=True, text=True, check=True).stderr
        return re.search(r"nginx/(\S+)", said).group(1)

    @staticmethod
    def size():
        """Bytes of the program and its modules."""
        return sum(os.path.getsize(path) for path in [shutil.which("nginx"), *glob.glob("/usr/lib/nginx/modules/*.so")])


class Greenroom(Proxy):
    """This project, with as many configured backends, backends to a model, and users as the phase asks for."""

    name = "greenroom"
    template = "greenroom.toml"
    # Of each backend: a saturated proxy is to refuse nothing.
    more = "max_in_flight = 100000\n"

    def __init__(self, upstream, backends=2, per_model=2, users=1, name="greenroom", telling=True, scraped=False):
        super().__init__(upstream)
        self.backends, self.per_model, self.users, self.name = backends, per_model, users, name
        self.telling, self.scraped = telling, scraped

    @staticmethod
    def binary():
        return pathlib.Path(os.environ.get("GREENROOM_BIN") or BUILD / "greenroom").resolve()

    def command(self):
        level = [] if self.telling else ["env", "RUST_LOG=error"]
        return [*level, self.binary(), "serve", "--config", self.run / self.template]

    @contextlib.contextmanager
    def scraping(self):
        if not self.scraped:
            yield
            return
        request = urllib.request.Request(
            f"http://{self.address}/metrics", headers={"Authorization": f"Bearer {OPERATOR_TOKEN}"}
        )
        done = threading.Event()

        def scrape():
            while not done.wait(1.0):
                with urllib.request.urlopen(request, timeout=10) as answer:
                    answer.read()

        scraper = threading.Thread(target=scrape)
        scraper.start()
        try:
            yield
        finally:
            done.set()
            scraper.join()

    def settings(self):
        addresses = self.upstream.addresses
        backends = [
            f'[backends.b{i}]\nprotocol = "openai"\nbase_url = "http://{addresses[i % len(addresses)]}/v1"\n'
            f'api_key = "{UPSTREAM_KEY}"\n{self.more}'
            for i in range(self.backends)
        ]
        models = []
        for first in range(0, self.backends, self.per_model):
            name = "bench-model" if first == 0 else f"model-{first}"
            chosen = ", ".join(f'{{ backend = "b{i}" }}' for i in range(first, min(first + self.per_model, self.backends)))
            models.append(f'[models."{name}"]\nbackends = [{chosen}]\n')
        users = [
            f'[users.u{i}]\ntoken = "{CLIENT_TOKEN if i == 0 else f"sk-other-{i:016}"}"\nmodels = ["*"]\nbackends = ["*"]\n'
            for i in range(self.users)
        ]
        if self.scraped:
            users.append(f'[users.operator]\ntoken = "{OPERATOR_TOKEN}"\nadmin = true\nmodels = ["*"]\nbackends = ["*"]\n')
        filled = {"BACKENDS": backends, "MODELS": models, "USERS": users}
        return {"HISTORY": str(self.telling).lower(), **{name: "\n".join(parts) for name, parts in filled.items()}}

    @classmethod
    def version(cls):
        said = subprocess.run([cls.binary(), "--version"], capture_output=True, text=True, check=True).stdout
        return said.split()[-1]

    @classmethod
    def size(cls):
        """Bytes of the program."""
        return cls.binary().stat().st_size
