"""Owns the proxy under soak: its process, its settings, its log, and what it takes of the machine."""

import asyncio
import collections
import os
import re
import signal

TOKEN = "token-of-soak"

SETTINGS = """
[server]
workers = 2
chaos = true
[failover]
deadline = "15s"
retry_budget = 0.5
hedge_budget = 0.2
[defaults.backend]
first_token_soft = "400ms"
first_token_hard = "1s"
idle_timeout = "1s"
total_timeout = "5s"
connect_timeout = "1s"
backoff_min = "100ms"
backoff_max = "1s"
breaker_failures = 5
[users.soak]
token = "token-of-soak"
models = ["*"]
backends = ["*"]
admin = true
may_pin = true
"""


class Proxy:
    """The binary as a process of its own."""

    def __init__(self, binary, folder):
        self.binary, self.folder = os.path.abspath(binary), folder
        self.config = os.path.join(folder, "greenroom.toml")
        self.process = None
        self.addr = None
        self.told = collections.Counter()
        self.panics = []
        self.reading = None

    def write(self, ports, weight):
        """Writes the settings; the weight and the number of backends differ from one reload to the next."""
        text = SETTINGS + "[models.m]\nbackends = ["
        text += ", ".join(f'{{ backend = "b{n}" }}' for n in range(len(ports))) + "]\n"
        for n, port in enumerate(ports):
            share = weight if n == 0 else 1.0
            text += f'[backends.b{n}]\nprotocol = "openai"\nbase_url = "http://127.0.0.1:{port}/v1"\nweight = {share}\n'
        with open(self.config, "w", encoding="utf-8") as file:
            file.write(text)

    async def start(self):
        args = ["serve", "--bind", "127.0.0.1:0", "--config", self.config]
        pipe = asyncio.subprocess.PIPE
        env = {**os.environ, "RUST_LOG": "warn,greenroom::request=info"}
        self.process = await asyncio.create_subprocess_exec(
            self.binary, *args, stdout=pipe, stderr=pipe, env=env, cwd=self.folder
        )
        said = (await self.process.stdout.readline()).decode()
        host, port = re.search(r"http://([\d.]+):(\d+)", said).groups()
        self.addr = (host, int(port))
        self.reading = asyncio.ensure_future(self.read_log())

    async def read_log(self):
        """Counts the ends that the proxy tells of each request, and keeps panics that nobody ordered."""
        async for line in self.process.stderr:
            text = line.decode(errors="replace")
            if "greenroom::request" in text and (name := re.search(r" id=(\S+)", text)):
                self.told[name[1]] += 1
            elif "panicked" in text and "on request of an operator" not in text:
                self.panics.append(text.strip())

    def hang_up(self):
        self.process.send_signal(signal.SIGHUP)

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def resident_mib(self):
        with open(f"/proc/{self.process.pid}/status", encoding="utf-8") as file:
            return int(re.search(r"VmRSS:\s+(\d+) kB", file.read())[1]) / 1024

    async def stop(self):
        self.process.terminate()
        try:
            code = await asyncio.wait_for(self.process.wait(), 40)
            await self.reading
            return code
        except asyncio.TimeoutError:
            self.process.kill()
            return "killed: it did not stop within 40 s"
