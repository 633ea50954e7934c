"""What a run comes to: each measure by direction, and two runs side by side."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from modaverse.errors import DataError
from modaverse.evaluation.measuring import Measured
from modaverse.evaluation.scoring import TITLES
from modaverse.media import write_bytes
from modaverse.media.files import shown
from modaverse.toybox.evaluation.statistics import NOTHING, Estimate, proportion, ratio

FILE = "evaluation.json"
ALL = "all"
_SHARES = ("valid", "modality")
_DRAWS = 4_000_000  # numbers that a bootstrap may draw, which bounds its memory


@dataclass(frozen=True, slots=True)
class Run:
    """A finished measurement."""

    profile: str
    data: tuple[str, ...]
    seed: int
    weights: str
    cases: tuple[Measured, ...]

    @property
    def directions(self) -> list[str]:
        """All of them together, then each, the most frequent first."""
        counts = Counter(case.direction for case in self.cases)
        return [ALL, *sorted(counts, key=lambda name: (-counts[name], name))]

    def of(self, direction: str) -> list[Measured]:
        return [case for case in self.cases if direction in (ALL, case.direction)]


@dataclass(frozen=True, slots=True)
class Line:
    """One measure of one direction."""

    direction: str
    measure: str
    estimate: Estimate


@dataclass(frozen=True, slots=True)
class Change:
    """One measure of one direction in two runs, over the cases that both have; `change` is second − first."""

    direction: str
    measure: str
    first: Estimate
    second: Estimate
    change: Estimate


def lines(run: Run) -> list[Line]:
    """Every measure that some case asks for, direction by direction."""
    found = (
        Line(direction, measure, estimate(measure, _tallies(run.of(direction), measure)))
        for direction in run.directions
        for measure in TITLES
    )
    return [line for line in found if line.estimate.count]


def compare(first: Run, second: Run) -> list[Change]:
    """Both runs on the cases that they share.

    Raises:
        DataError: they share none.
    """
    mine, theirs = ({case.key: case for case in run.cases} for run in (first, second))
    shared = [key for key in mine if key in theirs]
    if not shared:
        raise DataError("The two runs have no case in common", hint="Evaluate both on the same rows.")
    pairs = [(mine[key], theirs[key]) for key in shared]
    return [
        change
        for direction in first.directions
        for measure in TITLES
        for change in _change(direction, measure, pairs)
    ]


def _change(direction: str, measure: str, pairs: Sequence[tuple[Measured, Measured]]) -> Iterator[Change]:
    both = [
        (one.tallies[measure], other.tallies[measure])
        for one, other in pairs
        if direction in (ALL, one.direction) and measure in one.tallies and measure in other.tallies
    ]
    if both:
        first, second = ([pair[side] for pair in both] for side in (0, 1))
        yield Change(
            direction,
            measure,
            estimate(measure, first),
            estimate(measure, second),
            _difference(first, second),
        )


def _tallies(cases: Sequence[Measured], measure: str) -> list[tuple[float, float]]:
    return [case.tallies[measure] for case in cases if measure in case.tallies]


def estimate(measure: str, tallies: Sequence[tuple[float, float]]) -> Estimate:
    """A share with Wilson's interval, or a ratio of sums with that of the bootstrap over cases."""
    if not tallies:
        return NOTHING
    if measure in _SHARES:
        return proportion([above == below for above, below in tallies])
    above, below = zip(*tallies, strict=True)
    return ratio(above, below, resamples=_resamples(len(tallies)))


def _resamples(count: int) -> int:
    return min(4000, max(200, _DRAWS // count))


def _difference(first: Sequence[tuple[float, float]], second: Sequence[tuple[float, float]]) -> Estimate:
    """Second − first, with the bootstrap over cases: each is drawn for both runs at once, so that what makes
    a case hard for both does not widen the interval."""
    sides = np.array([first, second], dtype=np.float64)  # (run, case, above and below)
    count = sides.shape[1]
    chosen = np.random.default_rng(0).integers(count, size=(_resamples(count), count))
    above, below = (sides[:, chosen, index].sum(2) for index in (0, 1))  # (run, resample)
    drawn = np.diff(above / np.maximum(below, 1e-9), axis=0)[0]
    sums = sides.sum(1)
    value = float(sums[1, 0] / sums[1, 1] - sums[0, 0] / sums[0, 1])
    low, high = np.quantile(drawn, (0.025, 0.975))
    return Estimate(value, float(low), float(high), count)


# ----------------------------------------------------------------------------------------- as text


def number(value: float, measure: str) -> str:
    if math.isnan(value):
        return "–"
    return f"{value:.3f}" if measure == "loss" else f"{100 * value:.1f} %"


def interval(one: Estimate, measure: str) -> str:
    if measure == "loss":
        return f"{one.low:.3f} – {one.high:.3f}"
    return f"{100 * one.low:.1f} – {100 * one.high:.1f} %"


HEADINGS = ("direction", "measure", "measured", "95 % interval", "cases")


def cells(line: Line) -> tuple[str, ...]:
    """A line under `HEADINGS`."""
    one = line.estimate
    shown_value = number(one.value, line.measure)
    return line.direction, TITLES[line.measure], shown_value, interval(one, line.measure), f"{one.count:,}"


CHANGE_HEADINGS = ("direction", "measure", "first", "second", "second − first", "95 % interval", "cases")


def change_cells(change: Change) -> tuple[str, ...]:
    """A change under `CHANGE_HEADINGS`."""
    name, difference = change.measure, change.change
    sign = "+" if difference.value > 0 else ""
    return (
        change.direction,
        TITLES[name],
        number(change.first.value, name),
        number(change.second.value, name),
        f"{sign}{number(difference.value, name)}",
        interval(difference, name),
        f"{difference.count:,}",
    )


def markdown(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table for a file; a direction stands once, at its first measure."""
    text = ["| " + " | ".join(headings) + " |", "|" + "---|" * len(headings)]
    before = ""
    for direction, *rest in rows:
        text.append("| " + " | ".join(["" if direction == before else direction, *rest]) + " |")
        before = direction
    return "\n".join(text) + "\n"


# ----------------------------------------------------------------------------------------- as JSON


def record(one: Line) -> dict[str, Any]:
    return {"direction": one.direction, "measure": one.measure, **_values(one.estimate)}


def change_record(one: Change) -> dict[str, Any]:
    sides = {name: _values(getattr(one, name)) for name in ("first", "second", "change")}
    return {"direction": one.direction, "measure": one.measure, **sides}


def _values(one: Estimate) -> dict[str, Any]:
    return {"value": one.value, "low": one.low, "high": one.high, "count": one.count}


def save(run: Run, folder: Path) -> None:
    """Write a run, with each of its cases, to `evaluation.json` in its folder.

    Raises:
        StorageError: it cannot be written.
    """
    cases = [
        {"key": case.key, "name": case.name, "direction": case.direction, "tallies": case.tallies}
        for case in run.cases
    ]
    values = {
        "format": 1,
        "profile": run.profile,
        "data": list(run.data),
        "seed": run.seed,
        "weights": run.weights,
        "lines": [record(line) for line in lines(run)],
        "cases": cases,
    }
    write_bytes(json.dumps(values, ensure_ascii=False).encode(), folder / FILE)


def load(place: Path) -> Run:
    """A run from its folder or its file.

    Raises:
        DataError: there is none, or the file holds something else.
    """
    path = place / FILE if place.is_dir() else place
    try:
        values = json.loads(path.read_bytes())
        cases = tuple(_case(value) for value in values["cases"])
        return Run(values["profile"], tuple(values["data"]), values["seed"], values["weights"], cases)
    except OSError as error:
        raise DataError(
            f"cannot read {shown(path)}: {error.strerror}", hint="Name the folder of a run (its --out)."
        ) from error
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{shown(path)} holds no evaluation", hint="Name the folder of a run.") from error


def _case(value: Mapping[str, Any]) -> Measured:
    tallies = {name: (float(above), float(below)) for name, (above, below) in value["tallies"].items()}
    return Measured(value["key"], value["name"], value["direction"], tallies, {})
