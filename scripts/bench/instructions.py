"""Instruction counts of Greenroom's hot path under callgrind, compared with the stored ones."""

import json
import pathlib
import platform
import re
import shutil
import subprocess

import machine
from phases import Wrong, checked
from proxies import Greenroom, load_result

STORED = pathlib.Path(__file__).parent / "instructions.json"
# Growth over the stored count that fails.
MOST_GROWTH = 0.05
# Two replays are counted, and the difference taken: start-up and warm-up then cancel out.
REQUESTS = (200, 1200)
CHUNKS = (200, 1200)
# Microseconds between chunks: long enough that each arrives alone, slowed down as the proxy is.
INTERVAL_US = 4000
# What else runs by the clock, such as a flush of the history, falls into one replay and not into the other now and then: a count that
# grew too much is taken again, and the least counts.
TRIES = 3


def counted(bench, mode, *options):
    """Instructions of a whole run of Greenroom that served one replay."""
    greenroom = Greenroom(bench.upstream)
    tool = ["valgrind", "--tool=callgrind", "--callgrind-out-file=counts.%p", "--log-file=valgrind.log"]
    try:
        greenroom.start(tool, patience=120)
        result = load_result(mode, "--connections", 1, *options, to=[greenroom.address])
        for target in result.get("targets", [result]):
            checked(target)
        run, keep = greenroom.run, greenroom.process
        keep.terminate()
        keep.wait(60)
        totals = [
            int(re.search(r"^(?:summary|totals): (\d+)", path.read_text(encoding="utf-8"), re.M).group(1))
            for path in run.glob("counts.*")
        ]
    finally:
        greenroom.stop()
    if not totals:
        raise SystemExit("callgrind wrote no counts: did Greenroom end cleanly?")
    return sum(totals)


def measure(bench):
    """Instructions per request and per streamed chunk."""
    few, many = (counted(bench, "closed", "--total", n) for n in REQUESTS)
    short, long = (
        counted(bench, "streams", "--total", 1, "--chunks", n, "--interval-us", INTERVAL_US) for n in CHUNKS
    )
    return {
        "per_request": (many - few) // (REQUESTS[1] - REQUESTS[0]),
        "per_chunk": (long - short) // (CHUNKS[1] - CHUNKS[0]),
    }


def toolchain():
    """What the counts depend on besides the code."""
    rustc = subprocess.run(["rustc", "--version"], capture_output=True, text=True, check=True).stdout.split()[1]
    return f"rustc {rustc}, {platform.machine()}"


def compare(bench, store):
    """Prints the counts; 1 if one grew too much, 0 otherwise."""
    if not shutil.which("valgrind"):
        raise SystemExit("valgrind is missing: apt-get install valgrind")
    before = json.loads(STORED.read_text(encoding="utf-8")) if STORED.exists() and not store else {}
    try:
        now = measure(bench)
        for _ in range(1, TRIES):
            if not grown(now, before):
                break
            again = measure(bench)
            now = {name: min(count, again[name]) for name, count in now.items()}
    except Wrong as wrong:
        raise SystemExit(f"not every answer was right: {wrong}") from wrong
    finally:
        machine.stop_all()
    if not before:
        STORED.write_text(json.dumps({"toolchain": toolchain(), **now}, indent=1) + "\n", encoding="utf-8")
        print(f"stored: {now}")
        return 0
    if before["toolchain"] != toolchain():
        print(f"counts stored with {before['toolchain']}, this is {toolchain()}: store them anew with --quick --store")
    over = grown(now, before)
    for name, count in now.items():
        growth = count / before[name] - 1
        print(f"instructions {name}: {count:,}, stored {before[name]:,}, {growth:+.1%}{' TOO MUCH' if name in over else ''}")
    if over:
        print("has the code grown, or does the profile fit it no more? scripts/profile.sh makes that anew")
    return 1 if over else 0


def grown(now, before):
    """The names of counts that are too far above the stored ones."""
    return [name for name, count in now.items() if name in before and count > before[name] * (1 + MOST_GROWTH)]
