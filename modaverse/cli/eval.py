"""`modaverse eval`: how good a profile is, as a table with bars and 95 % intervals."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from modaverse.cli.guard import guarded


@guarded
def evaluate(
    profile: Annotated[str, typer.Option(help="Name of a profile, its TOML file, or a saved one.")] = "mini",
    rows: Annotated[
        str | None,
        typer.Option(help="Rows to measure, with commas between; judge-* are many."),
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Cases of each row, for a quick look.")] = None,
    out: Annotated[
        Path, typer.Option(help="Folder of the run; the same command goes on from what lies there.")
    ] = Path("runs/eval"),
    markdown: Annotated[Path | None, typer.Option(help="File to write the table to, as Markdown.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the measurement as JSON.")] = False,
    part: Annotated[
        list[str] | None,
        typer.Option(help="Folder of a part that lies elsewhere, as image=FOLDER; may be repeated."),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Decides the cases.")] = 0,
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads; all by default.")] = None,
    wrong: Annotated[int, typer.Option(min=0, help="Show so many cases that count against each bar.")] = 0,
    list_rows: Annotated[bool, typer.Option("--list", help="Show the rows and their bars, and end.")] = False,
) -> None:
    """Measure how good mini is, on requests and combinations that no training saw."""
    from modaverse.cli.evaluation import elsewhere, run_evaluation, show_rows

    if list_rows:
        show_rows(rows)
        return
    run_evaluation(
        profile,
        rows,
        out,
        limit=limit,
        seed=seed,
        threads=threads,
        markdown=markdown,
        json=json,
        wrong=wrong,
        elsewhere=elsewhere(part or []),
    )
