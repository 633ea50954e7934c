"""The measurement itself: rows run case by case, kept as they go, and summed up as a table."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from modaverse.errors import SettingsError
from modaverse.toybox.evaluation.parts import Parts
from modaverse.toybox.evaluation.row import Bar, Case, Outcome, Row
from modaverse.toybox.evaluation.statistics import Estimate
from modaverse.toybox.evaluation.store import Outcomes


@dataclass(frozen=True, slots=True)
class Line:
    """One measure of the table; `holds` is None where there is no bar. `full` is set where every case of the
    row was tried. `wrong` are the outcomes that count against the bar."""

    row: str
    title: str
    bar: Bar
    estimate: Estimate
    holds: bool | None
    full: bool
    wrong: tuple[Outcome, ...] = ()


@dataclass(frozen=True, slots=True)
class Measurement:
    """What was measured. `seconds` is the time that each row's cases took, whenever they ran; `weights` are
    the fingerprints of the parts."""

    profile: str
    lines: tuple[Line, ...]
    seconds: Mapping[str, float]
    weights: Mapping[str, str]
    seed: int

    @property
    def full(self) -> bool:
        """Whether this is the whole measurement of its rows, and not a quick look."""
        return all(line.full for line in self.lines)

    @property
    def failing(self) -> tuple[Line, ...]:
        return tuple(line for line in self.lines if line.holds is False)


@dataclass(frozen=True, slots=True)
class Progress:
    """`done` of `count` cases of a row are there."""

    row: str
    done: int
    count: int


Report = Callable[[Progress], None]


def chosen(rows: Sequence[Row], names: Iterable[str]) -> tuple[Row, ...]:
    """The rows with these names, in the order of `rows`; a name may end in * and stand for many.

    Raises:
        SettingsError: there is no such row.
    """
    wanted: set[str] = set()
    for name in names:
        found = {row.name for row in rows if _matches(row.name, name)}
        if not found:
            raise SettingsError(
                f"there is no row {name!r} to measure",
                hint=f"Rows are {', '.join(row.name for row in rows)}.",
            )
        wanted |= found
    return tuple(row for row in rows if row.name in wanted)


def _matches(name: str, pattern: str) -> bool:
    return name.startswith(pattern[:-1]) if pattern.endswith("*") else name == pattern


def measure(
    rows: Sequence[Row],
    parts: Parts,
    folder: Path,
    *,
    limit: int | None = None,
    seed: int = 0,
    report: Report = lambda progress: None,
) -> Measurement:
    """Run what is not yet in `folder`, and sum up.

    Args:
        limit: cases of each row, for a quick look.
        seed: of the cases.

    Raises:
        ModelNotFound: a part that one of the rows needs is not there; nothing has been run then.
        StorageError: the folder cannot be written.
        DataError: the folder holds something else.
    """
    parts.require(dict.fromkeys(need for row in rows for need in row.needs))
    outcomes = Outcomes(folder)
    lines: list[Line] = []
    seconds: dict[str, float] = {}
    for row in rows:
        count = row.count if limit is None else min(limit, row.count)
        cases = row.cases(count, seed)
        keys = [row.key(case, parts.fingerprint(row.needs)) for case in cases]
        _run(row, parts, cases, keys, outcomes, report)
        found = [outcome for key in keys if (outcome := outcomes.find(key)) is not None]
        seconds[row.name] = sum(outcomes.seconds(key) for key in keys)
        lines += _lines(row, found, full=count == row.count)
    needed = dict.fromkeys(need for row in rows for need in row.needs)
    weights = {name: parts.fingerprint([name]) for name in needed}
    return Measurement(parts.profile.name, tuple(lines), seconds, weights, seed)


def _run(
    row: Row, parts: Parts, cases: Sequence[Case], keys: Sequence[str], outcomes: Outcomes, report: Report
) -> None:
    """Run the cases whose outcome is not known, chunk by chunk."""
    missing = [place for place, key in enumerate(keys) if outcomes.find(key) is None]
    done = len(cases) - len(missing)
    report(Progress(row.name, done, len(cases)))
    for start in range(0, len(missing), row.chunk):
        places = missing[start : start + row.chunk]
        began = time.perf_counter()
        made = row.run(parts, [cases[place] for place in places])
        outcomes.append(row.name, [keys[place] for place in places], made, time.perf_counter() - began)
        done += len(places)
        report(Progress(row.name, done, len(cases)))


def _lines(row: Row, outcomes: Sequence[Outcome], *, full: bool) -> list[Line]:
    lines = []
    for bar in row.bars:
        estimate = row.summarise(outcomes, bar.measure)
        wrong = tuple(outcome for outcome in outcomes if bar.wrong(outcome))
        lines.append(Line(row.name, row.title, bar, estimate, bar.holds(estimate), full, wrong))
    return lines
