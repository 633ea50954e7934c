"""Measures as bars: a panel for each, a bar for each direction and run. Needs the extra `train`."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path

from modaverse.evaluation.scoring import TITLES
from modaverse.evaluation.summary import Run, lines
from modaverse.media import write_bytes
from modaverse.toybox.evaluation.statistics import Estimate


def plot_runs(runs: Mapping[str, Run], path: Path) -> bool:
    """Draw runs, by their names, as a PNG; False without matplotlib.

    Raises:
        StorageError: it cannot be written.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        return False
    found = {
        name: {(line.measure, line.direction): line.estimate for line in lines(run)}
        for name, run in runs.items()
    }
    measures = [
        measure for measure in TITLES if any(measure == key[0] for one in found.values() for key in one)
    ]
    directions = list(dict.fromkeys(name for run in runs.values() for name in run.directions))
    rows = (len(measures) + 1) // 2
    height = 0.9 + 0.24 * len(directions) * max(1, len(runs))
    figure = Figure(figsize=(10, height * rows), dpi=120, layout="constrained")
    for place, measure in enumerate(measures, start=1):
        axes = figure.add_subplot(rows, 2, place)
        for index, (name, estimates) in enumerate(found.items()):
            bars = [estimates.get((measure, direction)) for direction in directions]
            _draw(axes, bars, index, len(runs), name, scale=1 if measure == "loss" else 100)
        axes.set_yticks(range(len(directions)), directions)
        axes.invert_yaxis()
        if measure != "loss":
            axes.set_xlim(0, 100)
        axes.set_title(TITLES[measure] + (" (nats)" if measure == "loss" else " (%)"), fontsize=10)
        axes.grid(axis="x", alpha=0.3)
    if len(runs) > 1:
        figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=len(runs))
    drawn = io.BytesIO()
    FigureCanvasAgg(figure).print_png(drawn)
    write_bytes(drawn.getvalue(), path)
    return True


def _draw(
    axes: object, bars: Sequence[Estimate | None], index: int, count: int, name: str, *, scale: float
) -> None:
    """One run's bars in a panel; a direction that it does not have stays empty."""
    width = 0.8 / count
    places = [place + (index - (count - 1) / 2) * width for place in range(len(bars))]
    there = [(place, bar) for place, bar in zip(places, bars, strict=True) if bar is not None]
    if there:
        values = [scale * bar.value for _, bar in there]
        below = [max(0.0, value - scale * bar.low) for value, (_, bar) in zip(values, there, strict=True)]
        above = [max(0.0, scale * bar.high - value) for value, (_, bar) in zip(values, there, strict=True)]
        axes.barh(  # type: ignore[attr-defined]
            [place for place, _ in there], values, width, xerr=[below, above], label=name, capsize=2
        )
