"""What `modaverse eval --data` and `--compare` do, and what they show."""

from __future__ import annotations

import json as json_module
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modaverse.errors import SettingsError

if TYPE_CHECKING:
    from modaverse.evaluation.measuring import Measured
    from modaverse.evaluation.summary import Run

PLOT = "evaluation.png"


def evaluate_data(
    data: Sequence[Path],
    profile: str,
    out: Path,
    *,
    limit: int | None,
    seed: int,
    threads: int | None,
    constrained: bool,
    markdown: Path | None,
    json: bool,
    wrong: int,
) -> None:
    """Measure, keep the run in `out`, and show it.

    Raises:
        DataError, MediaError: the rows cannot be used.
        ModelNotFound: something of the profile is not there.
        StorageError: the folder or the file cannot be written.
    """
    import torch

    from modaverse.cli.evaluation import EvaluationDisplay
    from modaverse.cli.progress import terminated_is_interrupted
    from modaverse.data.calls import calls_of
    from modaverse.evaluation import summary
    from modaverse.evaluation.cases import cases_of
    from modaverse.evaluation.loading import open_measurer, weights_of
    from modaverse.evaluation.measuring import measure
    from modaverse.evaluation.plots import plot_runs
    from modaverse.settings import load_profile
    from modaverse.toybox.evaluation.measuring import Progress
    from modaverse.training.dataset import read_rows

    if threads is not None:
        torch.set_num_threads(threads)
    known = load_profile(profile)
    cases = list(cases_of(read_rows(data), calls_of(known), out / "media", limit=limit))
    measurer = open_measurer(known, out, constrained=constrained, seed=seed)
    weights = weights_of(known, constrained=constrained, seed=seed)
    with terminated_is_interrupted(), EvaluationDisplay() as display:
        measured = measure(
            cases,
            measurer,
            out,
            weights=weights,
            report=lambda done, count: display.report(Progress("data", done, count)),
        )
    run = summary.Run(known.name, tuple(path.name for path in data), seed, weights, tuple(measured))
    summary.save(run, out)
    drawn = plot_runs({run.profile: run}, out / PLOT)
    found = summary.lines(run)
    table = [summary.cells(line) for line in found]
    if markdown is not None:
        _write(markdown, summary.markdown(summary.HEADINGS, table))
    if json:
        _print_json(run, [summary.record(line) for line in found])
        return
    _show(summary.HEADINGS, table)
    for line in _wrong(measured, wrong):
        print(line)
    if measurer.without_meaning:
        print(f"The meaning of prompts was not measured: {' '.join(measurer.without_meaning.split())[:160]}")
    print(f"{len(measured):,} answers, kept in {out}" + (f"; {out / PLOT}" if drawn else ""))


def compare_runs(places: Sequence[Path], *, markdown: Path | None, json: bool, out: Path) -> None:
    """Two runs side by side, as a table and, in `out`, as a plot.

    Raises:
        SettingsError: there are not two.
        DataError: one is no run, or they share no case.
        StorageError: a file cannot be written.
    """
    from modaverse.evaluation import summary
    from modaverse.evaluation.plots import plot_runs

    if len(places) != 2:
        raise SettingsError(
            f"--compare takes two runs, and there {'is one' if len(places) == 1 else f'are {len(places)}'}",
            hint="Name both: --compare runs/a --compare runs/b.",
        )
    first, second = (summary.load(place) for place in places)
    changes = summary.compare(first, second)
    table = [summary.change_cells(change) for change in changes]
    if markdown is not None:
        _write(markdown, summary.markdown(summary.CHANGE_HEADINGS, table))
    if json:
        runs = [
            {"run": str(place), **_about(run)} for place, run in zip(places, (first, second), strict=True)
        ]
        print(json_module.dumps({"runs": runs, "changes": [summary.change_record(c) for c in changes]}))
        return
    _show(summary.CHANGE_HEADINGS, table)
    for name, place, run in zip(("first", "second"), places, (first, second), strict=True):
        print(f"{name}: {place} ({run.profile})")
    if plot_runs({str(place): run for place, run in zip(places, (first, second), strict=True)}, out / PLOT):
        print(out / PLOT)


def _about(run: Run) -> dict[str, Any]:
    return {"profile": run.profile, "data": list(run.data), "seed": run.seed, "weights": run.weights}


def _print_json(run: Run, lines: Sequence[dict[str, Any]]) -> None:
    print(json_module.dumps({**_about(run), "answers": len(run.cases), "lines": lines}, ensure_ascii=False))


def _write(path: Path, text: str) -> None:
    from modaverse.media import write_bytes

    write_bytes(text.encode(), path)


def _show(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A table, as wide as the terminal, or as it needs to be in a file."""
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False) if sys.stdout.isatty() else Console(highlight=False, width=140)
    table = Table()
    for heading in headings:
        table.add_column(heading, justify="left" if heading in ("direction", "measure") else "right")
    before = ""
    for direction, *rest in rows:
        if before and direction != before:
            table.add_section()
        table.add_row("" if direction == before else direction, *rest)
        before = direction
    console.print(table)


def _wrong(measured: Sequence[Measured], count: int) -> list[str]:
    """Cases whose calls are malformed or make something else, up to `count`."""
    missed = [
        case
        for case in measured
        if any(case.tallies.get(name, (1.0, 1.0))[0] < 1 for name in ("valid", "modality"))
    ]
    return [
        "\n  ".join(
            [
                case.name,
                *(f"{name}: {' '.join(map(str, _listed(value)))}" for name, value in case.facts.items()),
            ]
        )
        for case in missed[:count]
    ]


def _listed(value: object) -> list[object]:
    return value if isinstance(value, list) else [value]
