"""What `modaverse generators check` looks at, without loading any weights."""

from __future__ import annotations

from pathlib import Path

from modaverse.errors import ModaVerseError
from modaverse.generators.card import load_card
from modaverse.generators.diffusers_adapter import pipeline_class
from modaverse.generators.weights import check_safe, locate


def check_card(name: str, root: Path | None) -> ModaVerseError | None:
    """The first fault of a generator (its card, its pipeline classes, its weights), or None."""
    try:
        card = load_card(name)
        for call in card.calls:
            pipeline_class(call.pipeline)
        check_safe(locate(card, root))
    except ModaVerseError as error:
        return error
    return None
