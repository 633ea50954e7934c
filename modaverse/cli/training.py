"""`modaverse toybox train`: the recipes of a part, one after the other."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from modaverse.cli.progress import Bars, numbers
from modaverse.cli.progress import terminated_is_interrupted as terminated_is_interrupted

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


def reporter(name: str, bars: Bars) -> Report:
    """Shows what the trainer of a recipe reports."""

    def report(progress: Progress) -> None:
        if progress.evaluation is not None:
            bars.line(f"{name} {progress.step:,}: evaluation  {numbers(progress.evaluation)}")
        measures = {"loss": progress.loss, **progress.measures}
        note = f"{numbers(measures)}  {progress.seconds_per_step:.2f} s a step"
        bars.advance(name, progress.step, progress.steps, note)

    return report
