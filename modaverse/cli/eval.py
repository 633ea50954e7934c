"""`modaverse eval`: how good a profile is, as a table with bars and 95 % intervals."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from modaverse.cli.guard import guarded


@guarded
def evaluate(
    profile: Annotated[str, typer.Option(help="Name of a profile, its TOML file, or a saved one.")] = "mini",
    data: Annotated[
        list[Path] | None,
        typer.Option(
            help="File of rows (.jsonl), or folder of such, to measure on instead; may be repeated."
        ),
    ] = None,
    compare: Annotated[
        list[Path] | None,
        typer.Option(help="Folder of a run with --data; name two to see them side by side."),
    ] = None,
    rows: Annotated[
        str | None,
        typer.Option(help="Rows to measure, with commas between; judge-* are many."),
    ] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="Cases of each row, or answers of --data, for a quick look.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder of the run; the same command goes on from what lies there. runs/eval by default, "
            "with --data runs/eval-data, with --compare runs/compare."
        ),
    ] = None,
    markdown: Annotated[Path | None, typer.Option(help="File to write the table to, as Markdown.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the measurement as JSON.")] = False,
    part: Annotated[
        list[str] | None,
        typer.Option(help="Folder of a part that lies elsewhere, as image=FOLDER; may be repeated."),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Decides the cases; with --data, the sampling.")] = 0,
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads; all by default.")] = None,
    wrong: Annotated[int, typer.Option(min=0, help="Show so many cases that count against each bar.")] = 0,
    constrained: Annotated[
        bool, typer.Option("--constrained", help="With --data: answer under the token mask.")
    ] = False,
    list_rows: Annotated[bool, typer.Option("--list", help="Show the rows and their bars, and end.")] = False,
) -> None:
    """Measure how good mini is on requests that no training saw, or any profile on rows of your own."""
    if compare:
        from modaverse.cli.data_evaluation import compare_runs

        compare_runs(compare, markdown=markdown, json=json, out=out or Path("runs/compare"))
        return
    if data:
        from modaverse.cli.data_evaluation import evaluate_data

        evaluate_data(
            data,
            profile,
            out or Path("runs/eval-data"),
            limit=limit,
            seed=seed,
            threads=threads,
            constrained=constrained,
            markdown=markdown,
            json=json,
            wrong=wrong,
        )
        return
    from modaverse.cli.evaluation import elsewhere, run_evaluation, show_rows

    if list_rows:
        show_rows(rows)
        return
    run_evaluation(
        profile,
        rows,
        out or Path("runs/eval"),
        limit=limit,
        seed=seed,
        threads=threads,
        markdown=markdown,
        json=json,
        wrong=wrong,
        elsewhere=elsewhere(part or []),
    )
