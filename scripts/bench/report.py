"""The table of a run: each measure for both proxies, the ratio, and what is asked of it."""

import statistics

# Name, words, digits, limit of the ratio to nginx, limit of Greenroom's own figure.
MEASURES = [
    ("cpu_us_1k", "CPU µs per request, 1 KB prompt", 1, 1.0, None),
    ("cpu_us_100k", "CPU µs per request, 100 KB prompt", 1, 1.1, None),
    ("cpu_us_1m", "CPU µs per request, 1 MB prompt", 0, 1.2, None),
    ("cpu_us_chunk", "CPU µs per streamed chunk, 100 streams", 2, 1.0, None),
    ("cpu_us_translated", "CPU µs per translated chunk, 100 streams", 2, None, None),
    ("rps_1k", "requests/s on one core, 1 KB prompt", 0, None, None),
    ("added_p50_us", "added latency at 500 requests/s, p50 µs", 0, 1.2, None),
    ("added_p99_us", "added latency at 500 requests/s, p99 µs", 0, 1.2, None),
    ("added_ttft_p50_us", "added time to first token, p50 µs", 0, None, None),
    ("added_ttft_p90_us", "added time to first token, p90 µs", 0, None, None),
    ("added_ttft_p99_us", "added time to first token, p99 µs", 0, 1.2, None),
    ("gap_p99_ms", "gap between tokens due each 10 ms, p99 ms", 1, None, None),
    ("idle_mib", "memory, idle, MiB", 1, None, 15.0),
    ("stream_kib_1000", "memory per open stream, 1,000 held, KiB", 1, None, None),
    ("stream_kib_5000", "memory per open stream, 5,000 held, KiB", 1, 1.5, 27.0),
    ("stream_kib_9900", "memory per open stream, 9,900 held, KiB", 1, None, None),
    ("stream_kib_10000", "memory per open stream, 10,000 held, KiB", 1, None, None),
    ("hold_cpu_percent_5000", "CPU with 5,000 tokens/s on as many streams, %", 1, None, None),
    ("start_ms", "start to first answer, ms", 1, None, 50.0),
    ("binary_mb", "program, MB", 1, None, 15.0),
]


# A translated chunk to one that is passed on.
MOST_TRANSLATED = 2.0


def middles(rounds, name, key):
    """The figures of one measure, a proxy's, over the rounds that have it."""
    return [figures[name][key] for figures in rounds if key in figures.get(name, {})]


def ratios(rounds, key, one, other):
    """Ratios of two proxies within each round: what disturbs a round disturbs both."""
    pairs = [(figures.get(one, {}).get(key), figures.get(other, {}).get(key)) for figures in rounds]
    return [a / b for a, b in pairs if a is not None and b is not None and b > 0]


def verdict(ratio, own, most_ratio, most_own):
    """Whether the limits are kept; either suffices where there are two, as the second is an absolute floor."""
    kept = []
    if most_ratio is not None and ratio is not None:
        kept.append(ratio <= most_ratio)
    if most_own is not None and own is not None:
        kept.append(own <= most_own)
    if not kept:
        return ""
    return "yes" if any(kept) else "NO"


def table(rounds):
    """Markdown: one line a measure."""
    lines = [
        "| measure | nginx | Greenroom | ratio (least to most) | asked | kept |",
        "| --- | ---: | ---: | ---: | ---: | --- |",
    ]
    for key, words, digits, most_ratio, most_own in MEASURES:
        theirs, ours = middles(rounds, "nginx", key), middles(rounds, "greenroom", key)
        if not theirs and not ours:
            continue
        shown = [f"{statistics.median(v):,.{digits}f}" if v else "" for v in (theirs, ours)]
        relative = ratios(rounds, key, "greenroom", "nginx")
        # Of the medians, not the median of ratios: an added latency may be near nothing in one round.
        middle = statistics.median(ours) / statistics.median(theirs) if relative else None
        spread = f"{middle:.2f} ({min(relative):.2f} to {max(relative):.2f})" if relative else ""
        asked = " or ".join(
            ([f"{most_ratio} × nginx"] if most_ratio else []) + ([f"{most_own:g}"] if most_own else [])
        )
        kept = verdict(middle, statistics.median(ours) if ours else None, most_ratio, most_own)
        lines.append(f"| {words} | {shown[0]} | {shown[1]} | {spread} | {asked} | {kept} |")
    return "\n".join(lines)


def translation(rounds):
    """A sentence: a translated chunk beside one that is passed on."""
    pairs = [(f["greenroom"]["cpu_us_translated"], f["greenroom"]["cpu_us_chunk"]) for f in rounds]
    relative = [translated / passed for translated, passed in pairs]
    kept = "yes" if statistics.median(relative) <= MOST_TRANSLATED else "NO"
    return (
        f"A translated chunk costs {statistics.median(relative):.2f} times one that is passed on "
        f"({min(relative):.2f} to {max(relative):.2f}); asked: at most {MOST_TRANSLATED:g}; kept: {kept}"
    )


def variants_table(rounds, names):
    """Markdown: what other settings cost a request, to the first of `names`."""
    lines = ["| Greenroom's settings | CPU µs per request | ratio (least to most) |", "| --- | ---: | ---: |"]
    for name, words in names.items():
        figures = middles(rounds, name, "cpu_us_1k")
        relative = ratios(rounds, "cpu_us_1k", name, next(iter(names)))
        if figures and relative:
            spread = f"{statistics.median(relative):.3f} ({min(relative):.3f} to {max(relative):.3f})"
            lines.append(f"| {words} | {statistics.median(figures):.1f} | {spread} |")
    return "\n".join(lines)
