"""`modaverse profiles`: which systems can be put together here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from modaverse.cli.guard import guarded

if TYPE_CHECKING:
    from modaverse.settings import Profile


@guarded
def profiles(
    name: Annotated[
        str | None, typer.Argument(help="Show this one: a profile's name, its TOML file, or a saved one.")
    ] = None,
) -> None:
    """List the profiles that come with ModaVerse, or show what one is made of."""
    from modaverse.settings import load_profile, profile_names

    if name is None:
        for known in profile_names():
            print(f"{known:<16} {load_profile(known).description}")
        return
    for label, value in parts(load_profile(name)):
        print(f"{label:<12} {value}")


def parts(profile: Profile) -> list[tuple[str, str]]:
    """What a profile is made of, as labels and values."""
    answer, generators = profile.answer, profile.generators
    sampling = f"temperature {answer.temperature:g}" if answer.temperature else "greedy"
    mask = "token mask" if answer.constrained else "no token mask"
    return [
        (profile.name, profile.description),
        ("device", profile.device),
        ("llm", f"{profile.llm.place} ({profile.llm.dtype})"),
        ("adapter", str(profile.llm.adapter)),
        ("encoder", f"{profile.encoder.path} ({profile.encoder.dtype})"),
        ("generators", ", ".join(generators.cards) or "none"),
        ("answers", f"{answer.grammar}, {mask}, splice {answer.splice}, {sampling}"),
        ("limits", f"{answer.max_new_tokens} tokens and {answer.max_calls} calls an answer"),
    ]
