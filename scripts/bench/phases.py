"""What is measured: one function a phase, each giving figures by name for one proxy."""

import json
import statistics
import time

import machine
from proxies import load, load_result

CHUNKS = 200
# Of first tokens.
SHORT_RUNS = 9
# Streams held at most: each takes two descriptors of its proxy. Many machines allow a process 20,000.
MOST = 10_000 if machine.open_file_limit() > 20_200 else 9_900


class Wrong(Exception):
    """The proxy answered something else than the backend said, so its speed is of no interest."""


def checked(result, expected=None):
    """A load result without errors, every answer exact to the byte."""
    if result["errors"] or result["exact"] != result["done"] or (expected and result["done"] != expected):
        raise Wrong(json.dumps({k: result[k] for k in ("done", "exact", "errors", "error_kinds")}))
    return result


def plain(size, connections, seconds):
    """CPU of a plain request with a prompt of `size` bytes, the proxy saturated."""

    def phase(bench, proxy):
        options = ["--secs", seconds, "--size", size, "--connections", connections]
        with proxy.scraping(), machine.Meter(proxy.process) as meter:
            result = checked(load_result("closed", *options, to=[proxy.address]))
        label = {1 << 10: "1k", 100 << 10: "100k", 1 << 20: "1m"}[size]
        return {
            f"cpu_us_{label}": meter.cpu_s / result["done"] * 1e6,
            f"rps_{label}": result["done"] / result["secs"],
            f"busy_{label}": meter.cpu_s / meter.wall_s,
            "others": meter.others,
        }

    return phase


def streamed(proxy, *more):
    """100 streams at a time, a token each 10 ms: what was counted, and CPU µs per chunk."""
    options = ["--connections", 100, "--total", 100, "--chunks", CHUNKS, "--interval-us", 10_000, *more]
    with machine.AwakeCore() as awake, machine.Meter(proxy.process, awake.spinner) as meter:
        result = checked(load_result("streams", *options, to=[proxy.address])["targets"][0], 100)
    return result, meter.cpu_s / (result["done"] * CHUNKS) * 1e6, meter.others


def stream(bench, proxy):
    """CPU of a streamed chunk."""
    result, cpu_us, others = streamed(proxy)
    return {"cpu_us_chunk": cpu_us, "gap_p99_ms": result["gap_us"]["p99"] / 1e3, "others": others}


def translated(bench, proxy):
    """CPU of a chunk that is translated: Messages clients before the same chat backends."""
    _, cpu_us, others = streamed(proxy, "--messages")
    return {"cpu_us_translated": cpu_us, "others": others}


def latency(bench, proxy):
    """What the proxy adds to a request at 500 a second, sent by turns through it and past it."""
    # Its 99th percentile is one of 50 answers a second: fewer seconds, and one hiccup of the machine is all it shows.
    options = ["--per-second", 500, "--secs", 12]
    with machine.AwakeCore() as awake, machine.Meter(proxy.process, awake.spinner) as meter:
        targets = load_result("rate", *options, to=[proxy.address, bench.direct.addresses[0]])["targets"]
    through, past = (checked(target)["latency_us"] for target in targets)
    return {**{f"added_{q}_us": through[q] - past[q] for q in ("p50", "p99")}, "others": meter.others}


def first_token(bench, proxy):
    """What the proxy adds to the time to the first token, with 100 short streams at all times, and as many past it.

    The middle of several short runs: a 99th percentile shows the machine's worst moments, and they are not in each of these.
    """
    options = ["--connections", 100, "--total", 1000, "--chunks", 5, "--interval-us", 50_000]
    added, others = {"p50": [], "p90": [], "p99": []}, []
    for _ in range(SHORT_RUNS):
        with machine.AwakeCore() as awake, machine.Meter(proxy.process, awake.spinner) as meter:
            targets = load_result("streams", *options, to=[proxy.address, bench.direct.addresses[0]])["targets"]
        through, past = (checked(target, 1000)["first_token_us"] for target in targets)
        for quantile, runs in added.items():
            runs.append(through[quantile] - past[quantile])
        others.append(meter.others)
    middles = {f"added_ttft_{quantile}_us": statistics.median(runs) for quantile, runs in added.items()}
    return {**middles, "others": statistics.median(others)}


def hold(streams):
    """Memory of streams held open at a token a second, in a process started for that."""

    def phase(bench, proxy):
        fresh = bench.fresh(proxy)
        fresh.start()
        try:
            time.sleep(0.5)
            idle = machine.rss_kib(fresh.process.pid)
            holder = load("hold", "--connections", streams, "--secs", 5, to=[fresh.address])
            opened = json.loads(holder.stdout.readline())["open"]
            time.sleep(1.5)
            with machine.Meter(fresh.process) as meter:
                time.sleep(2.5)
                held = machine.rss_kib(fresh.process.pid)
            rest, _ = holder.communicate(timeout=120)
            machine.running.remove(holder)
        finally:
            fresh.stop()
        result = json.loads(rest.splitlines()[-1])
        if opened != streams or result["errors"] or result["lost"] or result["stalled"]:
            raise Wrong(json.dumps({k: result[k] for k in ("open", "lost", "stalled", "errors", "error_kinds")}))
        return {
            "idle_mib": idle / 1024,
            f"stream_kib_{streams}": (held - idle) / streams,
            f"hold_cpu_percent_{streams}": meter.cpu_s / meter.wall_s * 100,
        }

    return phase


def start(bench, proxy):
    """Time from exec to a first answer, the middle of seven starts."""
    times = []
    for _ in range(7):
        fresh = bench.fresh(proxy)
        try:
            times.append(fresh.start())
        finally:
            fresh.stop()
    return {"start_ms": statistics.median(times) * 1e3}


def size(bench, proxy):
    """Bytes on disk."""
    return {"binary_mb": proxy.size() / 1e6}


PHASES = {
    "plain": plain(1 << 10, 64, 3),
    "stream": stream,
    "translated": translated,
    "plain100k": plain(100 << 10, 32, 3),
    "plain1m": plain(1 << 20, 8, 3),
    "latency": latency,
    "ttft": first_token,
    "hold1000": hold(1000),
    "hold5000": hold(5000),
    f"hold{MOST}": hold(MOST),
    "start": start,
    "size": size,
}
# Measured in the first round only: they are slow, or hardly vary.
ONCE = {"hold1000", "hold5000", f"hold{MOST}", "start", "size"}
SETS = {
    "core": ["plain", "stream"],
    "standard": ["plain", "stream", "plain100k", "plain1m", "latency", "ttft", "hold1000", "start", "size"],
    "translation": ["stream", "translated"],
    "all": [phase for phase in PHASES if phase != "translated"],
}
