"""`modaverse toybox train`: the recipes of a part, one after the other."""

from __future__ import annotations

import itertools
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from modaverse.cli.progress import Bars, asked_to_stop, numbers
from modaverse.cli.progress import terminated_is_interrupted as terminated_is_interrupted

ADAPTER = "adapter"

if TYPE_CHECKING:
    from modaverse.toybox.recipes.trainer import Progress, Report


def train_part(part: str, runs: Path, *, resume: bool, threads: int | None, steps: int | None) -> None:
    """Train every recipe of a part of `mini`, each in its own folder below `runs`.

    Raises:
        SettingsError: there is no such part.
        ModaVerseError: a loss was not finite, or a checkpoint cannot be used or written.
    """
    import torch

    from modaverse.toybox.recipes.registry import recipes
    from modaverse.toybox.recipes.trainer import train

    if threads is not None:
        torch.set_num_threads(threads)
    with terminated_is_interrupted(), Bars() as bars:
        for recipe in recipes(part, runs, lambda done, count: bars.advance("rendering", done, count)):
            folder = runs / recipe.name
            report = reporter(recipe.name, bars)
            train(recipe, folder, report=report, resume=resume, stop_after=steps)
            bars.line(f"{recipe.name}: {folder}")


def train_mini_adapter(
    runs: Path, *, resume: bool, threads: int | None, steps: int | None, processes: int, rows: int | None
) -> None:
    """Train mini's adapter: the recipe is rows of Toybox, the program is that of `modaverse train`.

    Raises:
        ModaVerseError: what `modaverse.toybox.recipes.adapter.train_adapter` raises.
    """
    from modaverse.cli.processes import is_first, spread
    from modaverse.cli.train_settings import show

    spread(processes, threads)

    import torch

    from modaverse.toybox.recipes.adapter import ROWS, train_adapter

    if threads is not None:
        torch.set_num_threads(threads)
    left = itertools.count(1)
    with asked_to_stop() as asked, Bars() if is_first() else nullcontext() as bars:
        result = train_adapter(
            runs,
            rows=rows or ROWS,
            resume=resume,
            report=(lambda progress: show(progress, bars)) if bars else (lambda progress: None),
            stop=lambda: next(left) == steps or asked(),
        )
        stopped = asked()
    if stopped:
        raise KeyboardInterrupt
    if bars:
        state = result.folder if result.finished else f"stopped at step {result.step:,} of {result.steps:,}"
        bars.line(f"{ADAPTER}: {state}")


def reporter(name: str, bars: Bars) -> Report:
    """Shows what the trainer of a recipe reports."""

    def report(progress: Progress) -> None:
        if progress.evaluation is not None:
            bars.line(f"{name} {progress.step:,}: evaluation  {numbers(progress.evaluation)}")
        measures = {"loss": progress.loss, **progress.measures}
        note = f"{numbers(measures)}  {progress.seconds_per_step:.2f} s a step"
        bars.advance(name, progress.step, progress.steps, note)

    return report
