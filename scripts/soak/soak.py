"""Soaks the proxy: many clients, random faults, kills and reloads; then says whether anything was lost or left over."""

import argparse
import asyncio
import collections
import random
import sys
import tempfile
import time

from backends import Backend
from clients import Violation, chat, fetch
from proxy import TOKEN, Proxy

BACKENDS = 4
# Allocators and pools settle in the first part of a run; growth counts from there on.
SETTLED = 0.4
GROWTH, SLACK_MIB = 1.2, 24
# Beside listeners, event loops and files, what an idle proxy may keep open: nothing of the clients, idle pools at most.
SPARE_DESCRIPTORS = 16


class Soak:
    """One run."""

    def __init__(self, proxy, backends, options):
        self.proxy, self.backends, self.options = proxy, backends, options
        self.rng = random.Random(options.seed)
        self.outcomes, self.violations = collections.Counter(), []
        self.heard, self.sent = set(), 0
        self.memory, self.kills, self.reloads, self.downtimes = [], 0, 0, 0
        self.until = 0.0

    def running(self):
        return time.monotonic() < self.until

    async def client(self, number):
        rng = random.Random(f"{self.options.seed}-{number}")
        while self.running():
            self.sent += 1
            await self.one(f"r{self.sent}", rng)
            await asyncio.sleep(rng.random() * 0.2)

    async def one(self, name, rng, pin=None):
        try:
            outcome = await chat(self.proxy.addr, TOKEN, name, rng, pin)
            self.outcomes[outcome] += 1
            if outcome != "left":
                self.heard.add(name)
            return outcome
        except Violation as violation:
            self.violations.append(f"{name}: {violation}")
            return "violation"

    async def operator(self, method, path, wanted=200):
        status, body = await fetch(self.proxy.addr, method, path, TOKEN)
        if status != wanted:
            self.violations.append(f"{method} {path} was answered {status}: {body}")
        return body

    async def kill(self):
        """Kills an actor now and then, within the restart intensity that supervision allows."""
        while self.running():
            await asyncio.sleep(4 + 4 * self.rng.random())
            backend = f"backends/b{self.rng.randrange(2)}"
            await self.operator("POST", "/admin/chaos/" + self.rng.choice([backend, "router"]))
            self.kills += 1

    async def reload(self):
        """Installs other settings, by signal or by request: another weight, the last backend there or not."""
        ports = [backend.port for backend in self.backends]
        while self.running():
            await asyncio.sleep(2 + 2 * self.rng.random())
            self.proxy.write(ports[: self.rng.choice([BACKENDS - 1, BACKENDS])], self.rng.choice([0.5, 1.0, 2.0]))
            if self.rng.random() < 0.5:
                self.proxy.hang_up()
            else:
                await self.operator("POST", "/admin/reload")
            self.reloads += 1

    async def downtime(self):
        """Takes a backend's port away for a moment."""
        while self.running():
            await asyncio.sleep(3 + 3 * self.rng.random())
            backend = self.rng.choice(self.backends)
            await backend.stop()
            await asyncio.sleep(0.3)
            await backend.start()
            self.downtimes += 1

    async def measure(self):
        while self.running():
            self.memory.append(self.proxy.resident_mib())
            await asyncio.sleep(0.5)

    async def run(self):
        # An answer tells that everything is open that stays so.
        await self.operator("GET", "/admin/backends")
        idle = self.proxy.descriptors()
        self.until = time.monotonic() + self.options.seconds
        clients = [self.client(number) for number in range(self.options.clients)]
        await asyncio.gather(*clients, self.kill(), self.reload(), self.downtime(), self.measure())
        await self.settle(idle)
        await self.recover()

    async def settle(self, idle):
        """Waits until nothing is under way: leases at zero, and the descriptors of the clients given back."""
        deadline = time.monotonic() + 30
        while True:
            reports = (await self.operator("GET", "/admin/backends"))["backends"]
            held = {r["name"]: (r["waiting"], r["streaming"]) for r in reports if r["waiting"] or r["streaming"]}
            open_now = self.proxy.descriptors()
            if not held and open_now <= idle + SPARE_DESCRIPTORS:
                return
            if time.monotonic() > deadline:
                self.violations.append(f"left over: leases {held}, {open_now} descriptors, {idle} before the first client")
                return
            await asyncio.sleep(0.2)

    async def recover(self):
        """Without faults everything has to be answered again, by every backend."""
        self.proxy.write([b.port for b in self.backends], 1.0)
        await self.operator("POST", "/admin/reload")
        for number, backend in enumerate(self.backends):
            backend.spoils, backend.asked = False, 0
            await self.operator("POST", f"/admin/backends/b{number}/resume")
            await self.operator("POST", f"/admin/backends/b{number}/reset")
        rng = random.Random(self.options.seed)
        for number in range(100):
            outcome = await self.one(f"after{number}", rng, f"b{number % BACKENDS}")
            if outcome not in ("success", "left"):
                self.violations.append(f"after all faults had ended, a request ended with {outcome}")
        silent = [number for number, backend in enumerate(self.backends) if not backend.asked]
        if silent:
            self.violations.append(f"after all faults had ended, backends {silent} were never asked again")

    def verdict(self):
        twice = [name for name, times in self.proxy.told.items() if times > 1]
        never = [name for name in self.heard if name not in self.proxy.told]
        settled = self.memory[int(len(self.memory) * SETTLED):]
        third = max(1, len(settled) // 3)
        before, after = max(settled[:third]), max(settled[-third:])
        wrong = list(self.violations)
        wrong += [f"told twice in the log: {twice[:5]}"] if twice else []
        wrong += [f"never told in the log: {len(never)}, such as {never[:5]}"] if never else []
        wrong += [f"a panic that nobody ordered: {self.proxy.panics[:3]}"] if self.proxy.panics else []
        if after > before * GROWTH + SLACK_MIB:
            wrong.append(f"memory grew from {before:.0f} to {after:.0f} MiB")
        if self.outcomes["success"] < self.sent / 2:
            wrong.append("fewer than half of all requests succeeded: the soak proves little")
        print(f"{self.sent} requests, {self.kills} kills, {self.reloads} reloads, {self.downtimes} downtimes")
        for outcome, times in self.outcomes.most_common():
            print(f"  {times:8} {outcome}")
        print(f"memory {before:.0f} -> {after:.0f} MiB")
        return wrong


async def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=600, help="length of the run (600)")
    parser.add_argument("--clients", type=int, default=200, help="clients at a time (200)")
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 30), help="repeats a run's choices")
    parser.add_argument("--binary", required=True, help="the greenroom to soak")
    options = parser.parse_args()
    print(f"soaking for {options.seconds:.0f} s with {options.clients} clients, --seed {options.seed}", flush=True)
    backends = [Backend(f"{options.seed}-{number}") for number in range(BACKENDS)]
    for backend in backends:
        await backend.start()
    with tempfile.TemporaryDirectory() as folder:
        proxy = Proxy(options.binary, folder)
        proxy.write([backend.port for backend in backends], 1.0)
        await proxy.start()
        soak = Soak(proxy, backends, options)
        try:
            await soak.run()
        finally:
            code = await proxy.stop()
        # Its log is complete only now.
        wrong = soak.verdict()
        if code != 0:
            wrong.append(f"the proxy ended with {code}")
    for line in wrong[:20]:
        print("WRONG:", line)
    print("soak failed" if wrong else "soak passed")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
