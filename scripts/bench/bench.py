"""Measures Greenroom beside nginx: same mock backends, same load, one run, phases by turns, proxy and load each on a core.

    scripts/bench.sh core               a 1 KB request and a streamed chunk, about a minute
    scripts/bench.sh                    all but the large holds
    scripts/bench.sh all                everything
    scripts/bench.sh plain,latency      these phases
    scripts/bench.sh translation        a chunk that is translated, beside one that is passed on
    scripts/bench.sh telemetry          what logging, history and scraping cost a request
    scripts/bench.sh scale              what 1,000 backends and users cost a request
    scripts/bench.sh balance            balancing beside nginx least_conn before simulated LLM servers, about 20 minutes
    scripts/bench.sh --quick            instruction counts against the stored ones; fit for CI

CPU is the process tree's, kernel work included, from /proc schedstat. Every answer is compared byte for byte with what
the backend sent; a difference or an error ends the run. GREENROOM_BIN names a binary to measure instead of building it.
"""

import argparse
import datetime
import json
import os
import pathlib
import sys

import balance
import instructions
import machine
import report
from phases import ONCE, PHASES, SETS, Wrong
from proxies import UPSTREAM_KEY, Greenroom, Nginx, Upstream, load_result

# A phase during which others took more of the proxy's core than this is measured again, twice at most.
MOST_OTHERS = 0.08
TELEMETRY = {
    "bare": "no request log, no history, no scraping",
    "telling": "request log to a file, history, a scrape each second",
}
SCALES = {
    "small": "4 backends, 1 user",
    "configured": "1,000 backends in 250 models, 1,000 users",
    "candidates": "1,000 backends in one model, 1,000 users",
}


# Compared within Greenroom: what is measured, and the words for each variant.
VARIANTS = {"scale": SCALES, "telemetry": TELEMETRY}


class Bench:
    """What the phases need: the proxies, and mock backends past them."""

    def __init__(self):
        self.upstream = Upstream(2, UPSTREAM_KEY)
        self.direct = Upstream(1)

    def fresh(self, proxy):
        """Another process of the same proxy."""
        return type(proxy)(self.upstream)

    def measure(self, phase, proxy):
        """One phase, again if something else was using the proxy's core."""
        best = None
        for _ in range(3):
            figures = PHASES[phase](self, proxy)
            others = figures.pop("others", 0.0)
            if best is None or others < best[1]:
                best = figures, others
            if others <= MOST_OTHERS:
                break
        return {**best[0], f"others_{phase}": best[1]}


def rounds(bench, proxies, phases, count):
    """Every phase for every proxy, by turns, the order changing with the round.

    Each round has processes of its own: where one happens to lie in memory moves its figures by several per cent for its life.
    """
    done = []
    for number in range(count):
        figures = {proxy.name: {} for proxy in proxies}
        order = proxies if number % 2 == 0 else proxies[::-1]
        for proxy in proxies:
            proxy.stop()
            proxy.start()
            load_result("closed", "--secs", 1, to=[proxy.address])
        for phase in phases:
            if phase in ONCE and number > 0:
                continue
            for proxy in order:
                try:
                    figures[proxy.name].update(bench.measure(phase, proxy))
                except Wrong as wrong:
                    raise SystemExit(f"{proxy.name}, {phase}: not every answer was right: {wrong}") from wrong
        done.append(figures)
        print(f"round {number + 1} of {count} done", file=sys.stderr)
    return done


def options():
    """The command line."""
    parser = argparse.ArgumentParser(prog="scripts/bench.sh", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="?", default="standard",
                        help=f"{', '.join(SETS)}, {', '.join(VARIANTS)}, balance, or phases with commas: {', '.join(PHASES)}")
    parser.add_argument("--only", choices=["nginx", "greenroom"], help="measure one proxy alone")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=pathlib.Path, help="write all figures as JSON to this file")
    parser.add_argument("--quick", action="store_true", help="count instructions instead of time")
    parser.add_argument("--store", action="store_true", help="with --quick: make the counts the stored ones")
    balancing = parser.add_argument_group("of balance")
    balancing.add_argument("--seconds", type=float, default=30, help="length of a run")
    balancing.add_argument("--load", type=float, default=0.7, help="share of its time for which a fleet is busy")
    balancing.add_argument("--fleet", default="", help="only fleets whose name contains this; --out keeps the others' figures")
    balancing.add_argument("--trace", help="replay this CSV file (examples/balance/trace.rs) instead of synthetic chat")
    chosen = parser.parse_args()
    chosen.phases = SETS.get(chosen.what) or chosen.what.split(",")
    if chosen.what == "balance":
        if chosen.only or chosen.quick:
            parser.error("balance compares both proxies, by time")
        return chosen
    unknown = [phase for phase in chosen.phases if phase not in PHASES and phase not in VARIANTS]
    if unknown:
        parser.error(f"no such phase: {', '.join(unknown)}")
    return chosen


def proxies_for(bench, chosen):
    """The proxies of this run; some compare settings of Greenroom with each other."""
    if chosen.what == "telemetry":
        return [
            Greenroom(bench.upstream, name="bare", telling=False),
            Greenroom(bench.upstream, name="telling", scraped=True),
        ]
    if chosen.what == "translation":
        return [Greenroom(bench.upstream)]
    if chosen.what == "scale":
        return [
            Greenroom(bench.upstream, backends=4, per_model=4, name="small"),
            Greenroom(bench.upstream, backends=1000, per_model=4, users=1000, name="configured"),
            Greenroom(bench.upstream, backends=1000, per_model=1000, users=1000, name="candidates"),
        ]
    kinds = {"nginx": Nginx, "greenroom": Greenroom}
    return [kind(bench.upstream) for name, kind in kinds.items() if chosen.only in (None, name)]


def main():
    chosen = options()
    if os.cpu_count() < 2:
        raise SystemExit("two cores are needed: one for the proxy, one for the load")
    machine.open_file_limit()
    os.sched_setaffinity(0, {machine.LOAD_CORE})
    if chosen.what == "balance":
        return balance.compare(chosen)
    bench = Bench()
    if chosen.quick:
        return instructions.compare(bench, chosen.store)
    proxies = proxies_for(bench, chosen)
    variants = VARIANTS.get(chosen.what)
    try:
        result = rounds(bench, proxies, ["plain"] if variants else chosen.phases, chosen.rounds)
    finally:
        for proxy in proxies:
            proxy.stop()
    if bench.upstream.stats()["bad_keys"]:
        raise SystemExit("requests reached the backends without their key")
    versions = {proxy.name: proxy.version() for proxy in proxies}
    title = ", ".join(f"{name} {version}" for name, version in versions.items())
    day = datetime.date.today().isoformat()
    print(f"{title}; {machine.describe()}; {chosen.rounds} rounds, {day}\n")
    print(report.variants_table(result, variants) if variants else report.table(result))
    if chosen.what == "translation":
        print(f"\n{report.translation(result)}")
    others = max((v for r in result for f in r.values() for k, v in f.items() if k.startswith("others_")), default=0.0)
    if others > MOST_OTHERS:
        print(f"\nOther programs took up to {others:.0%} of the proxy's core: measure again on a quiet machine.")
    if chosen.out:
        data = {"day": day, "machine": machine.describe(), "versions": versions, "rounds": result}
        chosen.out.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    finally:
        machine.stop_all()
