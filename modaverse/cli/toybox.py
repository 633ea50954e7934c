"""`modaverse toybox`: samples of the world of `mini`, and the recipes that train its parts."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from modaverse.cli.guard import guarded
from modaverse.errors import SettingsError

toybox = typer.Typer(
    name="toybox", help="The made-up world that mini knows: samples and training.", no_args_is_help=True
)


class Kind(StrEnum):
    IMAGE = "image"
    VIDEO = "video"
    AUDIO = "audio"


@toybox.command()
@guarded
def sample(
    kind: Annotated[Kind, typer.Option(help="What to make.")],
    out: Annotated[Path, typer.Option(help="File to write: PNG, MP4 or WAV by kind.")],
    seed: Annotated[int, typer.Option(min=0, help="Decides all that is not given.")],
    thing: Annotated[str | None, typer.Option(help="cat, dog, bird, frog, car, ...")] = None,
    colour: Annotated[str | None, typer.Option(help="Of a picture or clip.")] = None,
    size: Annotated[str | None, typer.Option(help="Of a picture or clip: small or large.")] = None,
    backdrop: Annotated[str | None, typer.Option(help="day, night, meadow, beach or snow.")] = None,
    direction: Annotated[str | None, typer.Option(help="Of a clip: left, right, up or down.")] = None,
    speed: Annotated[str | None, typer.Option(help="Of a clip: slow or fast.")] = None,
    pitch: Annotated[str | None, typer.Option(help="Of a sound: low or high.")] = None,
    pace: Annotated[str | None, typer.Option(help="Of a sound: slow or fast.")] = None,
) -> None:
    """Render a picture, clip or sound of Toybox. What is not given is drawn from the seed."""
    from modaverse.cli.sampling import sample_scene, write_sample

    wishes: dict[str, str | None] = {
        "thing": thing,
        "colour": colour,
        "size": size,
        "backdrop": backdrop,
        "direction": direction,
        "speed": speed,
        "pitch": pitch,
        "pace": pace,
    }
    scene = sample_scene(kind, {name: wish for name, wish in wishes.items() if wish is not None}, seed)
    write_sample(scene, seed, out)
    values = (str(getattr(scene, name)) for name in scene.__slots__)
    print(f"{out}: {', '.join(values)}")


@toybox.command()
@guarded
def train(
    part: Annotated[str, typer.Argument(help="Which part of mini; a name that is none lists them.")],
    runs: Annotated[Path, typer.Option(help="Folder for checkpoints, logs and renders.")] = Path("runs"),
    resume: Annotated[
        bool, typer.Option("--resume/--fresh", help="Go on from a checkpoint, or start over.")
    ] = True,
    steps: Annotated[
        int | None, typer.Option(min=1, help="Stop after so many steps, to go on later.")
    ] = None,
    threads: Annotated[
        int | None, typer.Option(min=1, help="CPU threads of a process; all, or its share, by default.")
    ] = None,
    processes: Annotated[
        int, typer.Option(min=1, help="Processes that train together (the adapter alone can be).")
    ] = 1,
    rows: Annotated[
        int | None, typer.Option(min=1, help="Rows that the adapter learns from; a fixed number by default.")
    ] = None,
) -> None:
    """Train a part of mini from nothing. Ctrl-C saves a checkpoint; the same command goes on from there."""
    from modaverse.cli.training import ADAPTER, train_mini_adapter, train_part

    if part == ADAPTER:
        train_mini_adapter(runs, resume=resume, threads=threads, steps=steps, processes=processes, rows=rows)
    elif processes > 1 or rows is not None:
        raise SettingsError(
            f"{part} has no rows and is trained by one process", hint=f"These options are for {ADAPTER}."
        )
    else:
        train_part(part, runs, resume=resume, threads=threads, steps=steps)
