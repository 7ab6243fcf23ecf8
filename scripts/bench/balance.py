"""Balancing end to end: Greenroom beside nginx `least_conn`, on real sockets, before fleets of simulated LLM servers."""

import datetime
import json
import pathlib
import socket
import statistics
import subprocess
import sys

import machine
from phases import Wrong
from proxies import BUILD, CLIENT_TOKEN, Greenroom, Nginx

# Of examples/balance/fleet.rs, by their names there.
FLEETS = ["four equal", "one at half speed", "mixed sizes", "one failing fast", "one degrading slowly", "bursts"]
# What an operator would tell nginx of unequal servers; whole numbers are all it takes. Greenroom is told nothing.
WEIGHTS = {"mixed sizes": [1, 1, 2, 4]}
# A server that answers with an error is asked no second time, and another one answers instead: without this nginx passes
# every 500 on. POST counts as not idempotent. Only what is listed counts for max_fails (nginx.org, ngx_http_proxy_module).
NEXT_LINE = "proxy_next_upstream error timeout http_500 http_502 http_503 non_idempotent;"
# How often the model's time goes into ours. Timers are good to a millisecond, which is so many of the model's.
FASTER = 6
# Share of a core above which the proxy or the load would be what is measured.
MOST_BUSY = 0.6


def program(fleet, chosen, mode, *options):
    """The command line of one end."""
    span = ["--fleet", fleet, "--span", chosen.seconds * FASTER, "--faster", FASTER]
    return [BUILD / "examples/bench_fleet", *span, mode, *options]


class Fleet:
    """A process of simulated servers, on the core of the load."""

    def __init__(self, name, chosen):
        self.name = name
        self.process = machine.start(
            program(name, chosen, "serve"), machine.LOAD_CORE, stdout=subprocess.PIPE, text=True
        )
        self.addresses = [self.process.stdout.readline().strip() for _ in range(4)]
        if not self.addresses[-1]:
            raise RuntimeError("the simulated servers did not start")

    def stats(self):
        """What each of its servers got, and how late its steps ended."""
        host, port = self.addresses[0].split(":")
        with socket.create_connection((host, int(port)), 5) as sock:
            sock.sendall(b"GET /stats HTTP/1.1\r\nhost: x\r\n\r\n")
            data = b""
            while not data.endswith(b"}}"):
                data += sock.recv(65536)
        return json.loads(data.split(b"\r\n\r\n", 1)[1])


class Listening:
    """Ready once it takes connections: a first request would teach a proxy something about one backend."""

    def answers(self, port):
        try:
            with socket.create_connection(("127.0.0.1", port), 1):
                return True
        except OSError:
            return False


class LeastConn(Listening, Nginx):
    """nginx with its passive checks as they are by default (`max_fails=1 fail_timeout=10s`)."""

    def settings(self):
        fleet = self.upstream
        weights = WEIGHTS.get(fleet.name, [1] * len(fleet.addresses))
        servers = [f"server {address} weight={weight};" for address, weight in zip(fleet.addresses, weights)]
        return {**super().settings(), "SERVERS": " ".join(servers), "NEXT_LINE": NEXT_LINE}


class Default(Listening, Greenroom):
    """Greenroom with its default settings."""

    more = ""

    def __init__(self, fleet):
        super().__init__(fleet, backends=len(fleet.addresses), per_model=len(fleet.addresses))


def run(kind, fleet, chosen, seed):
    """One run: a fresh proxy before fresh servers."""
    servers = Fleet(fleet, chosen)
    proxy = kind(servers)
    trace = [chosen.trace] if chosen.trace else []
    options = ["--key", CLIENT_TOKEN, "--load", chosen.load, "--seed", seed]
    try:
        proxy.start()
        command = program(fleet, chosen, "replay", *trace, "--to", proxy.address, *options)
        with machine.Meter(proxy.process) as meter:
            busy = machine.core_busy_seconds(machine.LOAD_CORE)
            replay = machine.start(command, machine.LOAD_CORE, stdout=subprocess.PIPE, text=True)
            out, _ = replay.communicate(timeout=chosen.seconds * 10 + 120)
            machine.running.remove(replay)
            busy = machine.core_busy_seconds(machine.LOAD_CORE) - busy
        if replay.returncode != 0:
            raise Wrong("the replay failed")
        result, said = json.loads(out), servers.stats()
    finally:
        proxy.stop()
        machine.stop(servers.process)
    if result["failures"] == result["count"]:
        raise Wrong(f"{proxy.name}, {fleet}: every request failed: {result['failure_kinds']}")
    # By backend, in the fleet's order.
    for key in ("requests", "failed", "left"):
        said[key] = [backend[key] for backend in said["backends"]]
    del said["backends"]
    cpu = {"proxy_busy": meter.cpu_s / meter.wall_s, "load_busy": busy / meter.wall_s, "others": meter.others}
    return {"seed": seed, **result, **said, **{key: round(value, 3) for key, value in cpu.items()}}


def rounds(chosen):
    """Every fleet with both proxies, by turns, the order changing with the round, the arrivals too."""
    figures = {}
    for fleet in FLEETS:
        if chosen.fleet not in fleet:
            continue
        kinds = {"nginx": LeastConn, "greenroom": Default}
        runs = figures[fleet] = {name: [] for name in kinds}
        for number in range(chosen.rounds):
            for name in sorted(kinds, reverse=number % 2 == 0):
                runs[name].append(run(kinds[name], fleet, chosen, number + 1))
        print(f"{fleet} done", file=sys.stderr)
    return figures


def middle(runs, measure, quantile):
    """A figure in the middle of the rounds."""
    return statistics.median(run[measure][quantile] for run in runs)


def ratio(runs, measure):
    """Greenroom's p99 to nginx's in the same round: the middle, the least and the most."""
    pairs = zip(runs["greenroom"], runs["nginx"])
    each = [ours[measure]["p99"] / theirs[measure]["p99"] for ours, theirs in pairs]
    return f"{statistics.median(each):.2f} ({min(each):.2f} to {max(each):.2f})"


def table(figures):
    """Markdown: one line a fleet."""
    lines = [
        "| fleet | nginx: TTFT p50 / p95 / p99 s | total p99 s | failures | Greenroom: TTFT p50 / p95 / p99 s "
        "| total p99 s | failures | ratio of TTFT p99 (least to most) | ratio of total p99 |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for fleet, runs in figures.items():
        cells = [fleet]
        for name in ("nginx", "greenroom"):
            first = " / ".join(f"{middle(runs[name], 'first_token_s', q):.2f}" for q in ("p50", "p95", "p99"))
            failed, count = (sum(run[key] for run in runs[name]) for key in ("failures", "count"))
            share = f"{failed / count:.2%} of {count:,}"
            cells += [first, f"{middle(runs[name], 'total_s', 'p99'):.1f}", share]
        cells += [ratio(runs, "first_token_s"), ratio(runs, "total_s")]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def remarks(figures):
    """Sentences: whether processors or timers were in the way."""
    runs = [run for fleet in figures.values() for each in fleet.values() for run in each]
    most = {key: max(run[key] for run in runs) for key in ("proxy_busy", "load_busy", "others")}
    late = max(run["late_ms"]["p99"] for run in runs) * FASTER
    said = (
        f"A proxy's core was busy for at most {most['proxy_busy']:.0%} of a run with it, the load's for {most['load_busy']:.0%}; "
        f"a step ended late by at most {late:.0f} ms of the model's time (p99)."
    )
    if max(most["proxy_busy"] + most["others"], most["load_busy"]) > MOST_BUSY:
        said += " That is too much: measure again on a quiet machine."
    return said


def kept(path, about):
    """Fleets measured before into the same file, in the same way."""
    if not path.exists():
        return {}
    before = json.loads(path.read_text(encoding="utf-8"))
    if {key: before.get(key) for key in about} != about:
        raise SystemExit(f"{path} is of another machine, version or choice of options: give --out another name")
    return before["fleets"]


def compare(chosen):
    """Measures, prints the table, and writes what was asked for."""
    trace = pathlib.Path(chosen.trace).name if chosen.trace else None
    about = {
        "machine": machine.describe(),
        "versions": {"nginx": Nginx.version(), "greenroom": Greenroom.version()},
        "options": {"rounds": chosen.rounds, "seconds": chosen.seconds, "load": chosen.load, "faster": FASTER, "trace": trace},
    }
    if not any(chosen.fleet in fleet for fleet in FLEETS):
        raise SystemExit(f"no such fleet; there are: {', '.join(FLEETS)}")
    before = kept(chosen.out, about) if chosen.out else {}
    try:
        measured = {**before, **rounds(chosen)}
    except Wrong as wrong:
        raise SystemExit(f"no result: {wrong}") from wrong
    figures = {fleet: measured[fleet] for fleet in FLEETS if fleet in measured}
    title = ", ".join(f"{name} {version}" for name, version in about["versions"].items())
    day = datetime.date.today().isoformat()
    print(f"{title}; {about['machine']}; {chosen.rounds} rounds of {chosen.seconds:g} s, busy {chosen.load:g}, {day}\n")
    print(f"{table(figures)}\n\n{remarks(figures)}")
    if chosen.out:
        data = {"day": day, **about, "fleets": figures}
        chosen.out.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")
    return 0
