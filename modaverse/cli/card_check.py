"""What `modaverse generators check` looks at: nothing large is loaded, and nothing is sent."""

from __future__ import annotations

from modaverse.errors import ModaVerseError
from modaverse.generators.card import Card
from modaverse.generators.opening import is_card, open_generators, read_card
from modaverse.generators.service import service_key
from modaverse.generators.service_card import ServiceCard
from modaverse.interfaces import Place


def check_card(name: str, place: Place) -> ModaVerseError | None:
    """The first fault of a generator, or None: its card and what it names, its weights or key; whether a
    plug-in opens."""
    try:
        card = read_card(name) if is_card(name) else None
        if isinstance(card, Card):
            _check_pipelines(card)
        open_generators(name, place)
        if isinstance(card, Card):
            _check_weights(card, place)
        elif isinstance(card, ServiceCard):
            service_key(card)
    except ModaVerseError as error:
        return error
    return None


def _check_pipelines(card: Card) -> None:
    from modaverse.generators.diffusers_adapter import check_requirements, pipeline_class

    for call in card.calls:
        pipeline_class(call.pipeline)
    check_requirements(card)


def _check_weights(card: Card, place: Place) -> None:
    from modaverse.generators.weights import check_safe, check_whole, locate

    folder = locate(card, place.root)
    check_safe(folder)
    check_whole(folder)
