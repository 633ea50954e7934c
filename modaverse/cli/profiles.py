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
    memory: Annotated[
        bool, typer.Option("--memory", help="Show what it needs in memory, reckoned without any weights.")
    ] = False,
    positions: Annotated[
        int, typer.Option(min=1, help="Length of the conversation for which that is reckoned.")
    ] = 4096,
) -> None:
    """List the profiles that come with ModaVerse, or show what one is made of."""
    from modaverse.settings import load_profile, profile_names

    if memory:
        for known in (name,) if name else profile_names():
            print("\n".join(memory_table(load_profile(known), positions)))
        return
    if name is None:
        for known in profile_names():
            print(f"{known:<16} {load_profile(known).description}")
        return
    for label, value in parts(load_profile(name)):
        print(f"{label:<12} {value}")


def memory_table(profile: Profile, positions: int) -> list[str]:
    """The lines of a table, in GB of 10^9 bytes: a column for each way to keep the LLM."""
    from modaverse.footprint import SETTINGS, footprint

    needs = [footprint(profile, kept, positions=positions) for kept in SETTINGS]
    rows = {
        "LLM": [need.llm for need in needs],
        "adapter, projectors": [need.adapter for need in needs],
        f"{needs[0].positions:,} positions": [need.cache for need in needs],
        "encoder": [need.encoder for need in needs],
        **{name: [size] * len(needs) for name, size in needs[0].generators.items()},
        "one generator at a time": [need.alone for need in needs],
        "all at once": [need.together for need in needs],
    }
    lines = [f"| {profile.name} | {' | '.join(SETTINGS)} |", "|---|" + "---:|" * len(SETTINGS)]
    return lines + [
        f"| {label} | {' | '.join(f'{size / 1e9:.1f}' for size in sizes)} |" for label, sizes in rows.items()
    ]


def parts(profile: Profile) -> list[tuple[str, str]]:
    """What a profile is made of, as labels and values."""
    answer, generators = profile.answer, profile.generators
    sampling = f"temperature {answer.temperature:g}" if answer.temperature else "greedy"
    mask = "token mask" if answer.constrained else "no token mask"
    return [
        (profile.name, profile.description),
        ("device", profile.device),
        ("llm", f"{profile.llm.place} ({profile.llm.quantized or profile.llm.dtype})"),
        ("adapter", str(profile.llm.adapter or "none: told by its system prompt what it can call")),
        ("encoder", f"{profile.encoder.path} ({profile.encoder.dtype})"),
        ("generators", ", ".join(generators.cards) or "none"),
        ("answers", f"{answer.grammar}, {mask}, splice {answer.splice}, {sampling}"),
        ("limits", f"{answer.max_new_tokens} tokens and {answer.max_calls} calls an answer"),
    ]
