"""The main job on the files in examples/media: five requests, shown as they are answered.

    python examples/demo.py            all of them
    python examples/demo.py 2 5        the second and the fifth

Each reply is saved as a page below .demo/, with its media.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from modaverse import ModaVerse
from modaverse.cli.guard import guarded
from modaverse.cli.run import answer
from modaverse.cli.transcript import display_for

HERE = Path(__file__).parent
OUTPUT = HERE.parent / ".demo"


@dataclass(frozen=True)
class Request:
    name: str
    prompt: str
    media: tuple[Path, ...] = ()


REQUESTS = (
    Request("text-to-image", "Draw a small red cat on a beach."),
    Request("sound-to-image", "Draw what you hear.", (HERE / "media" / "bell.wav",)),
    Request(
        "picture-to-sound", "What does this sound like? Let me hear it.", (HERE / "media" / "train.png",)
    ),
    Request("text-to-video", "Show me a large blue car at night that moves left fast."),
    Request("two-media", "Draw any animal, then let me hear a drum, and tell me what you made."),
)


@guarded
def main(
    wanted: Annotated[
        list[int] | None,
        typer.Argument(min=1, max=len(REQUESTS), help="Numbers of requests; all by default."),
    ] = None,
) -> None:
    """Answer the requests, and say where the pages lie."""
    numbers = wanted or range(1, len(REQUESTS) + 1)
    modaverse = ModaVerse.from_profile("mini", folder=OUTPUT / "media")
    pages = []
    failed = False
    for number in numbers:
        request = REQUESTS[number - 1]
        given = "".join(f" + {path.name}" for path in request.media)
        print(f"\n[{number}] {request.prompt}{given}")
        stream = modaverse.stream(request.prompt, media=request.media, seed=number)
        failed = answer(stream, display_for(sys.stdout)) or failed
        pages.append(stream.reply().save(OUTPUT / f"{number}-{request.name}"))
    print("\nEach reply as a page, with its media:")
    for page in pages:
        print(f"  {page}")
    raise typer.Exit(1 if failed else 0)


if __name__ == "__main__":
    typer.run(main)
