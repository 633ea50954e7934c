"""The stream parser: is its work linear, what does a kilobyte cost, where do re-parsing peers fall behind?

    pip install -e '.[bench]' -c constraints.txt
    python benchmarks/stream_parser.py [--largest BYTES] [--rounds N] [--out FILE]

Times are CPU times of the thread, so that other work on the machine counts little, and without the cyclic
garbage collector, as `timeit` takes them: our work leaves it nothing to do. What is compared takes turns, in
rounds, so that a machine that slows down slows all alike, and the least time of each counts: of 5 rounds on a
shared machine, one line or another was always an outlier. Peers have no notion of text around calls; they are
given the JSON object of one long call, and parse all they have at each delta, as their streaming users do. A
peer is not asked for sizes that would take it longer than `--patience`
seconds, and is left out where it is not installed.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import importlib
import json
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path
from types import ModuleType

import report
from lark import Lark
from lark.exceptions import UnexpectedInput

from modaverse.metaresponse import Limits, StreamParser
from modaverse.metaresponse.grammar import load_dialect

KB = 1024
LEAST_SECONDS = 0.02  # of one measurement: the clock ticks far more finely
LIMITS = Limits(max_calls=10**9, max_call_chars=10**9, max_input_chars=10**9)
PROSE = "Some prose with {braces}, [brackets], \"quotes\" and a < b, as in if (a < b) { x[i] = '{'; }\n"
WORDS = "a small red cat on a beach, by night; "
CALL = '<meta>{"Model": "T-to-I", "Input": "a small red cat on a beach"}</meta> and then '


def long_string(size: int) -> str:
    return '<meta>{"Model": "T-to-I", "Input": "' + (WORDS * (size // len(WORDS) + 1))[:size] + '"}</meta>'


WORKLOADS: dict[str, Callable[[int], str]] = {
    "one long string": long_string,
    "brace-dense prose": lambda size: (PROSE * (size // len(PROSE) + 1))[:size],
    "many small calls": lambda size: CALL * (size // len(CALL)),
}


def pieces(text: str, delta: int) -> Iterator[str]:
    return (text[start : start + delta] for start in range(0, len(text), delta))


def least(works: Sequence[Callable[[], object]], rounds: int) -> list[float]:
    """For each of `works` the least seconds of CPU time that it took; short ones run many times a round."""
    taken = [[run(work, 1) for work in works]]
    repeats = [max(1, round(LEAST_SECONDS / max(once, 1e-6))) for once in taken[0]]
    for _ in range(rounds):
        taken.append([run(work, times) for work, times in zip(works, repeats, strict=True)])
    return [min(column) for column in zip(*taken, strict=True)]


def run(work: Callable[[], object], times: int) -> float:
    gc.collect()
    gc.disable()
    try:
        begin = time.thread_time()
        for _ in range(times):
            work()
        return (time.thread_time() - begin) / times
    finally:
        gc.enable()


def ours(text: str, delta: int) -> None:
    parser = StreamParser(limits=LIMITS)
    for piece in pieces(text, delta):
        parser.feed(piece)
    parser.close()


def slowest_feeds(text: str) -> float:
    """Seconds of one feed of 4 characters, 99th percentile, in the tenth of the text where it is most."""
    parser, times = StreamParser(limits=LIMITS), list[int]()
    for piece in pieces(text, 4):
        begin = time.thread_time_ns()
        parser.feed(piece)
        times.append(time.thread_time_ns() - begin)
    tenths = (times[len(times) * part // 10 : len(times) * (part + 1) // 10] for part in range(10))
    return max(statistics.quantiles(tenth, n=100)[98] for tenth in tenths) / 1e9


def linearity(largest: int, rounds: int) -> str:
    rows = []
    sizes = [size for size in (8 * KB << step for step in range(8)) if size <= largest]
    for name, make in WORKLOADS.items():
        texts = [make(size) for size in sizes]
        for delta in (1, 4, 64):
            times = least([partial(ours, text, delta) for text in texts], rounds)
            ratios = [after / before for before, after in pairwise(times)]
            steepest = f"{max(ratios):.2f} (N = {kb(sizes[ratios.index(max(ratios))])})"
            per_kb = times[-1] / len(texts[-1]) * KB
            p99 = f"{slowest_feeds(texts[-1]) * 1e3:.3f} ms" if delta == 4 else ""
            rows.append((name, delta, steepest, f"{per_kb * 1e3:.3f} ms", p99))
    header = ("text", "delta", "largest time(2N) / time(N)", "per KB at the largest N", "p99, slowest tenth")
    return report.table(header, rows)


def against_one_shot(size: int, rounds: int) -> str:
    """Many small calls against lark's own parse of the whole, which reads with C's regular expressions."""
    text = WORKLOADS["many small calls"](size)
    lark = Lark(load_dialect("meta_response").source, parser="lalr", start="start")
    works: dict[str, Callable[[], object]] = {
        "lark, all at once": partial(lark.parse, text),
        "StreamParser, deltas of 4": partial(ours, text, 4),
        "StreamParser, deltas of 64": partial(ours, text, 64),
        "StreamParser, all at once": partial(ours, text, len(text)),
    }
    times = least(list(works.values()), rounds)
    rows = [(name, f"{taken / len(text) * KB * 1e3:.3f} ms", f"{taken / times[0]:.2f}")
            for name, taken in zip(works, times, strict=True)]  # fmt: skip
    return report.table(("many small calls", "per KB", "× lark"), rows)


def reparse(parse: Callable[[str], object]) -> Callable[[str], None]:
    def read(text: str) -> None:
        for end in range(4, len(text) + 4, 4):
            parse(text[:end])

    return read


def peers() -> dict[str, Callable[[str], None] | None]:
    """How each peer reads an object in deltas of 4 characters; None where it is not installed."""
    jiter, partial_json = (installed(name) for name in ("jiter", "partial_json_parser"))
    lark = Lark(load_dialect("meta_response").source, parser="lalr", start="part")

    def parse_with_lark(text: str) -> None:
        with contextlib.suppress(UnexpectedInput):  # the last terminal is not complete yet
            lark.parse_interactive("<meta>" + text).exhaust_lexer()

    def read_with_jiter(text: str) -> None:
        data = text.encode()  # it takes bytes; here a character has one
        for end in range(4, len(data) + 4, 4):
            jiter.from_json(data[:end], partial_mode="trailing-strings")

    return {
        "jiter": read_with_jiter if jiter else None,
        "partial-json-parser": reparse(partial_json.loads) if partial_json else None,
        "re-parsing with lark": reparse(parse_with_lark),
    }


def installed(module: str) -> ModuleType | None:
    try:
        return importlib.import_module(module)
    except ImportError:
        return None


def kb(size: int) -> str:
    return f"{size / KB:g} KB"


def ms(seconds: float | None) -> str:
    return "—" if seconds is None else f"{seconds * 1e3:,.1f} ms"


def json_of(size: int) -> str:
    body = json.dumps({"Model": "T-to-I", "Input": WORDS * (size // len(WORDS) + 1)})
    return body[: size - 2] + '"}'


def first_ahead(own: dict[int, float], other: dict[int, float]) -> str:
    """The size from which on `own` took less time wherever both were measured."""
    behind = [size for size in other if own[size] >= other[size]]
    return next((kb(size) for size in other if size > max(behind, default=0)), "no size measured")


def crossings(largest: int, rounds: int, patience: float) -> str:
    """One long call in deltas of 4 characters: all that are still in the race, size by size."""
    sizes = [size for size in (KB // 2 << step for step in range(12)) if size <= largest]
    racing = {name: read for name, read in peers().items() if read is not None}
    columns: dict[str, dict[int, float]] = {"StreamParser": {}, **{name: {} for name in peers()}}
    for size in sizes:
        call, body = long_string(size), json_of(size)
        works = [partial(ours, call, 4), *(partial(read, body) for read in racing.values())]
        quick = sum(columns[name].get(size // 2, 0) for name in racing) < patience / 20
        for name, taken in zip(("StreamParser", *racing), least(works, rounds if quick else 0), strict=True):
            columns[name][size] = taken
        racing = {name: read for name, read in racing.items() if columns[name][size] * 4 <= patience}
    rows = [(kb(size), *(ms(times.get(size)) for times in columns.values())) for size in sizes]
    own = columns.pop("StreamParser")
    ahead = [f"{name} from {first_ahead(own, times)} up" for name, times in columns.items() if times]
    absent = [name for name, times in columns.items() if not times]
    said = f"StreamParser is ahead of {', '.join(ahead)}."
    if absent:
        said += f" Not installed: {', '.join(absent)}."
    return report.table(("object", "StreamParser", *columns), rows) + "\n\n" + said


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--largest", type=int, default=1024 * KB)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--patience", type=float, default=20.0, metavar="SECONDS")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".md"))
    options = parser.parse_args()
    where = report.machine(("lark", "jiter", "partial-json-parser"))
    parts = [
        where,
        "CPU times. A delta is the number of characters in one `feed`.",
        "## Linear work", linearity(options.largest, options.rounds),
        "## Against lark's own parse",
        against_one_shot(min(options.largest, 256 * KB), options.rounds),
        "## One long call in deltas of 4 characters",
        crossings(options.largest, options.rounds, options.patience),
    ]  # fmt: skip
    report.write(options.out, "The stream parser", parts)


if __name__ == "__main__":
    main()
