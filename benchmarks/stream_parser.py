"""The stream parser: is its work linear, what does a kilobyte cost, where do re-parsing peers fall behind?

    pip install -e '.[bench]' -c constraints.txt
    python benchmarks/stream_parser.py [--largest BYTES] [--out FILE]

Times are CPU times of the thread, so that other work on the machine counts little. Peers have no notion of
text around calls; they are given the JSON object of one long call, and parse all they have at each delta, as
their streaming users do. A peer is not asked for sizes that would take it longer than `--patience` seconds.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import statistics
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import jiter
import partial_json_parser
import report
from lark import Lark
from lark.exceptions import UnexpectedInput

from modaverse.metaresponse import Limits, StreamParser
from modaverse.metaresponse.grammar import load_dialect

KB = 1024
LIMITS = Limits(max_calls=10**9, max_call_chars=10**9, max_input_chars=10**9)
PROSE = "Some prose with {braces}, [brackets], \"quotes\" and a < b, as in if (a < b) { x[i] = '{'; }\n"
CALL = '<meta>{"Model": "T-to-I", "Input": "a small red cat on a beach"}</meta> and then '


def long_string(size: int) -> str:
    words = "a small red cat on a beach, by night; "
    return '<meta>{"Model": "T-to-I", "Input": "' + (words * (size // len(words) + 1))[:size] + '"}</meta>'


WORKLOADS: dict[str, Callable[[int], str]] = {
    "one long string": long_string,
    "brace-dense prose": lambda size: (PROSE * (size // len(PROSE) + 1))[:size],
    "many small calls": lambda size: CALL * (size // len(CALL)),
}


def pieces(text: str, delta: int) -> Iterator[str]:
    return (text[start : start + delta] for start in range(0, len(text), delta))


def cpu(work: Callable[[], object], repeats: int = 3) -> float:
    """Seconds of CPU time: the least of some runs."""
    least = float("inf")
    for _ in range(repeats):
        begin = time.thread_time()
        work()
        least = min(least, time.thread_time() - begin)
    return least


def ours(text: str, delta: int) -> None:
    parser = StreamParser(limits=LIMITS)
    for piece in pieces(text, delta):
        parser.feed(piece)
    parser.close()


def slowest_feeds(text: str) -> float:
    """The 99th percentile of one feed of 4 characters, in seconds."""
    parser, times = StreamParser(limits=LIMITS), []
    for piece in pieces(text, 4):
        begin = time.thread_time_ns()
        parser.feed(piece)
        times.append(time.thread_time_ns() - begin)
    return statistics.quantiles(times, n=100)[98] / 1e9


def linearity(largest: int) -> str:
    rows = []
    for name, make in WORKLOADS.items():
        for delta in (1, 4, 64):
            sizes = [size for size in (8 * KB << step for step in range(8)) if size <= largest]
            times = [cpu(lambda size=size: ours(make(size), delta), 2) for size in sizes]  # noqa: B023
            ratio = max(after / before for before, after in pairwise(times))
            per_kb = times[-1] / sizes[-1] * KB
            p99 = f"{slowest_feeds(make(sizes[-1])) * 1e3:.3f} ms" if delta == 4 else ""
            rows.append((name, delta, f"{ratio:.2f}", f"{per_kb * 1e3:.3f} ms", p99))
    header = ("text", "delta", "largest time(2N) / time(N)", "per KB at the largest N", "p99 of one feed")
    return report.table(header, rows)


def against_one_shot(size: int) -> str:
    """Many small calls against lark's own parse of the whole, which reads with C's regular expressions."""
    text = WORKLOADS["many small calls"](size)
    lark = Lark(load_dialect("meta_response").source, parser="lalr", start="start")
    once = cpu(lambda: lark.parse(text))
    rows = [("lark, all at once", f"{once / size * KB * 1e3:.3f} ms", "1")]
    for delta in (4, 64, size):
        taken = cpu(lambda delta=delta: ours(text, delta))
        name = f"StreamParser, {'all at once' if delta == size else f'deltas of {delta}'}"
        rows.append((name, f"{taken / size * KB * 1e3:.3f} ms", f"{taken / once:.2f}"))
    return report.table(("many small calls", "per KB", "× lark"), rows)


def reparse(parse: Callable[[str], object]) -> Callable[[str], None]:
    def read(text: str) -> None:
        for end in range(4, len(text) + 4, 4):
            parse(text[:end])

    return read


def peers() -> dict[str, Callable[[str], None]]:
    lark = Lark(load_dialect("meta_response").source, parser="lalr", start="part")

    def parse_with_lark(text: str) -> None:
        with contextlib.suppress(UnexpectedInput):  # the last terminal is not complete yet
            lark.parse_interactive("<meta>" + text).exhaust_lexer()

    def parse_with_jiter(text: str) -> None:
        jiter.from_json(text.encode(), partial_mode="trailing-strings")

    return {
        "jiter": reparse(parse_with_jiter),
        "partial-json-parser": reparse(lambda text: partial_json_parser.loads(text)),
        "re-parsing with lark": reparse(parse_with_lark),
    }


def kb(size: int) -> str:
    return f"{size / KB:g} KB"


def ms(seconds: float | None) -> str:
    return "—" if seconds is None else f"{seconds * 1e3:,.1f} ms"


def first_ahead(own: dict[int, float], other: dict[int, float]) -> str:
    """The size from which on `own` took less time wherever both were measured."""
    behind = [size for size in other if own[size] >= other[size]]
    return next((kb(size) for size in other if size > max(behind, default=0)), "no size measured")


def crossings(largest: int, patience: float) -> str:
    """One long call in deltas of 4 characters."""
    sizes = [size for size in (KB // 2 << step for step in range(12)) if size <= largest]
    own = {size: cpu(lambda size=size: ours(long_string(size), 4)) for size in sizes}
    columns: dict[str, dict[int, float]] = {"StreamParser": own}
    for name, read in peers().items():
        columns[name] = {}
        for size in sizes:
            body = json.dumps({"Model": "T-to-I", "Input": "a small red cat on a beach, by night; " * size})
            text = body[: size - 2] + '"}'
            columns[name][size] = cpu(lambda: read(text), 1)  # noqa: B023
            if columns[name][size] * 4 > patience:
                break
    rows = [(kb(size), *(ms(times.get(size)) for times in columns.values())) for size in sizes]
    ahead = [(name, first_ahead(own, times)) for name, times in columns.items() if name != "StreamParser"]
    said = "StreamParser is ahead of " + ", ".join(f"{name} from {size} up" for name, size in ahead) + "."
    return report.table(("object", *columns), rows) + "\n\n" + said


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--largest", type=int, default=1024 * KB)
    parser.add_argument("--patience", type=float, default=20.0, metavar="SECONDS")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".md"))
    options = parser.parse_args()
    where = report.machine(("lark", "jiter", "partial-json-parser"))
    parts = [
        where,
        "CPU times. A delta is the number of characters in one `feed`.",
        "## Linear work", linearity(options.largest),
        "## Against lark's own parse", against_one_shot(min(options.largest, 256 * KB)),
        "## One long call in deltas of 4 characters", crossings(options.largest, options.patience),
    ]  # fmt: skip
    report.write(options.out, "The stream parser", parts)


if __name__ == "__main__":
    main()
