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
    """List the generators that come with ModaVerse."""
    from modaverse.generators.card import card_names, load_card

    cards = [load_card(name) for name in card_names()]
    width = max(len(card.name) for card in cards)
    for card in cards:
        calls = ", ".join(call.model for call in card.calls)
        print(f"{card.name:<{width}}  {calls:<24} {card.weights.size_gb:>6.3g} GB  {card.licence.name}")
        print(f"{'':<{width}}  {card.summary}")


@generators.command()
@guarded
def show(
    name: Annotated[str, typer.Argument(help="Name of a generator, or a card's TOML file.")],
) -> None:
    """Show the card of a generator: its calls, options, weights, memory and licence."""
    from modaverse.generators.card import load_card

    card = load_card(name)
    licence = card.licence
    terms = "commercial use allowed" if licence.commercial else "no commercial use"
    weights = card.weights
    place = weights.path or f"{weights.repository} at {weights.revision}"
    print(f"{card.name}: {card.summary}")
    print(f"licence    {licence.name} ({terms}){'; ' + licence.note if licence.note else ''}")
    print(f"weights    {place}, {weights.size_gb:g} GB")
    memory = ", ".join(f"{size:g} GB in {precision}" for precision, size in card.memory_gb.items())
    print(f"memory     {memory}; loaded in {card.precision}")
    for call in card.calls:
        source = f" from {call.source.value}" if call.source else ""
        print(f"\n{call.model}: makes {call.makes.value}{source} with {call.pipeline}")
        for option, entry in call.options.items():
            default = call.arguments.get(entry.argument or option)
            shown = f"  (default {default})" if default is not None else ""
            print(f"  {option:<12} {entry.json_schema}{shown}")


@generators.command()
@guarded
def check(
    names: Annotated[
        list[str] | None, typer.Argument(help="Generators to check; without any, those of the profile.")
    ] = None,
    profile: Annotated[str, typer.Option(help="Profile whose folder holds weights.")] = "mini",
) -> None:
    """Check that weights are here and safe to load, and that their pipeline classes exist."""
    from modaverse.cli.card_check import check_card
    from modaverse.settings import load_profile

    settings = load_profile(profile).generators
    failed = False
    for name in names or settings.cards:
        fault = check_card(name, settings.root)
        failed = failed or fault is not None
        print(f"{name}: {'ok' if fault is None else fault.message}")
        if fault is not None and fault.hint:
            print(f"    {fault.hint}")
    if failed:
        raise typer.Exit(1)
