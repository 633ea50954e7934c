"""A measurement as text: for people in Markdown, for programs as JSON values."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from modaverse.toybox.evaluation.measuring import Line, Measurement
from modaverse.toybox.evaluation.row import Bar
from modaverse.toybox.evaluation.statistics import Estimate

HEADINGS = ("row", "measure", "bar", "measured", "95 % interval", "cases", "")


def number(value: float, unit: str) -> str:
    if math.isnan(value):
        return "–"
    match unit:
        case "%":
            return f"{100 * value:.1f} %"
        case "×":
            return f"{value:.2f} ×"
        case _:
            return f"{value:g}"


def interval(estimate: Estimate, unit: str) -> str:
    if not estimate.count:
        return "–"
    match unit:
        case "%":
            return f"{100 * estimate.low:.1f} – {100 * estimate.high:.1f} %"
        case "×":
            return f"{estimate.low:.2f} – {estimate.high:.2f} ×"
        case _:
            return f"{estimate.low:.1f} – {estimate.high:.1f}"


def bar_text(bar: Bar) -> str:
    if bar.at_least is not None:
        return f"≥ {_short(bar.at_least, bar.unit)}"
    if bar.at_most is not None:
        return f"≤ {_short(bar.at_most, bar.unit)}" if bar.at_most else "0"
    return ""


def _short(value: float, unit: str) -> str:
    return f"{100 * value:g} %" if unit == "%" else f"{value:g}{' ' + unit if unit else ''}"


def cells(line: Line) -> tuple[str, ...]:
    """A line under `HEADINGS`."""
    unit = line.bar.unit
    verdict = {True: "holds", False: "falls short", None: ""}[line.holds]
    return (
        line.title,
        line.bar.title,
        bar_text(line.bar),
        number(line.estimate.value, unit),
        interval(line.estimate, unit),
        str(line.estimate.count),
        verdict,
    )


def caveat(measurement: Measurement) -> str:
    """What must be said of a measurement that is none of the whole; empty where it is."""
    if measurement.full:
        return ""
    return "This is a quick look at some of the cases, not the full measurement."


def markdown(measurement: Measurement) -> str:
    """The table, for a file. A row's title stands once, at its first measure."""
    note = caveat(measurement)
    minutes = sum(measurement.seconds.values()) / 60
    weights = ", ".join(f"{name} `{digest}`" for name, digest in measurement.weights.items())
    lines = [
        f"Profile `{measurement.profile}`, seed {measurement.seed}, {minutes:.1f} minutes.",
        f"Weights: {weights}.",
        "",
        *((f"**{note}**", "") if note else ()),
        "| " + " | ".join(HEADINGS) + " |",
        "|" + "---|" * len(HEADINGS),
    ]
    before = ""
    for line in measurement.lines:
        title, *rest = cells(line)
        lines.append("| " + " | ".join(["" if title == before else title, *rest]) + " |")
        before = title
    return "\n".join(lines) + "\n"


def examples(measurement: Measurement, count: int) -> Iterator[str]:
    """For each measure with a bar, up to `count` of the cases that count against it."""
    for line in measurement.lines:
        if line.holds is None or not line.wrong:
            continue
        yield f"{line.row}, {line.bar.title}: {len(line.wrong)} wrong"
        for outcome in line.wrong[:count]:
            facts = (f"{name}: {_plain(value)}" for name, value in outcome.facts.items())
            yield f"  {outcome.case}  " + "\n         ".join(facts)


def _plain(value: Any) -> str:
    """A fact without the quotes and brackets that its type would have."""
    if isinstance(value, list):
        return " ".join(_plain(item) for item in value)
    if isinstance(value, dict):
        return ", ".join(f"{name} {item}" for name, item in value.items())
    return str(value)


def record(measurement: Measurement) -> dict[str, Any]:
    """The measurement as JSON values."""
    return {
        "profile": measurement.profile,
        "seed": measurement.seed,
        "full": measurement.full,
        "weights": dict(measurement.weights),
        "seconds": {name: round(value, 1) for name, value in measurement.seconds.items()},
        "lines": [_line(line) for line in measurement.lines],
    }


def _line(line: Line) -> dict[str, Any]:
    estimate = line.estimate
    values = {"value": estimate.value, "low": estimate.low, "high": estimate.high}
    return {
        "row": line.row,
        "title": line.title,
        "measure": line.bar.measure,
        "at_least": line.bar.at_least,
        "at_most": line.bar.at_most,
        **{name: None if math.isnan(value) else value for name, value in values.items()},
        "count": estimate.count,
        "holds": line.holds,
        "full": line.full,
    }
