"""`modaverse generators`: what can be made, by which generator, under which terms."""

from __future__ import annotations

from typing import Annotated

import typer

from modaverse.cli.guard import guarded

generators = typer.Typer(
    name="generators", help="List generators and show their cards.", no_args_is_help=True
)


@generators.command("list")
@guarded
def list_() -> None:
    """List the generators that come with ModaVerse, and the plug-ins that are installed."""
    from modaverse.cli.card_text import overview

    for line in overview():
        print(line)


@generators.command()
@guarded
def show(
    name: Annotated[str, typer.Argument(help="Name of a generator or plug-in, or a card's TOML file.")],
) -> None:
    """Show a generator: its calls, options, weights, memory and licence."""
    from modaverse.cli.card_text import described
    from modaverse.interfaces import Place

    for line in described(name, Place()):
        print(line)


@generators.command()
@guarded
def check(
    names: Annotated[
        list[str] | None, typer.Argument(help="Generators to check; without any, those of the profile.")
    ] = None,
    profile: Annotated[str, typer.Option(help="Profile whose folder holds weights.")] = "mini",
) -> None:
    """Check that weights are here and safe to load, pipeline classes exist, keys are set, plug-ins open."""
    from modaverse.cli.card_check import check_card
    from modaverse.interfaces import Place
    from modaverse.settings import load_profile

    settings = load_profile(profile).generators
    place = Place(root=settings.root)
    failed = False
    for name in names or settings.cards:
        fault = check_card(name, place)
        failed = failed or fault is not None
        print(f"{name}: {'ok' if fault is None else fault.message}")
        if fault is not None and fault.hint:
            print(f"    {fault.hint}")
    if failed:
        raise typer.Exit(1)
