"""Captions: what the LLM writes into `Input`, and what generators and the encoder's text side learn from.

A caption says a wish and nothing more, so captions are as often partial ("a red cat") as whole ("a small red
cat on a beach"). The *plain* caption of a wish is one fixed sentence, and the LLM always writes that one;
the family around it has other orders and words, so that what people write themselves works too.
"""

from __future__ import annotations

import random
from functools import cache

from modaverse.context import Modality
from modaverse.toybox.wordings.grammar import Grammar
from modaverse.toybox.wordings.wishes import AnyScene, Wish, partial_wish

_BACKDROPS = {
    "day": "by day",
    "night": "at night",
    "meadow": "on a meadow",
    "beach": "on a beach",
    "snow": "in the snow",
}
_OPEN = {"something": "thing"}


@cache
def _grammar() -> Grammar:
    return Grammar.load("captions.toml")


def article(noun: str) -> str:
    """`noun` with "a" or "an"."""
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"


def plain_caption(wish: Wish) -> str:
    """The one fixed caption of `wish`: "a large blue car at night, moving left fast"."""
    noun = _OPEN.get(wish.thing, wish.thing)
    if wish.modality is Modality.AUDIO:
        manner = ", ".join(word for word in (wish.pitch, wish.pace) if word)
        return " ".join(word for word in ("the", manner, "sound of", article(noun)) if word)
    text = article(" ".join(word for word in (wish.size, wish.colour, noun) if word))
    if wish.backdrop:
        text += f" {_BACKDROPS[wish.backdrop]}"
    if wish.direction or wish.speed:
        speed = "slowly" if wish.speed == "slow" else wish.speed
        text += ", " + " ".join(word for word in ("moving", wish.direction, speed) if word)
    return text


def caption_of(wish: Wish, rng: random.Random, *, plain: float = 0.5) -> str:
    """A caption of `wish`: with the probability `plain` the plain one, otherwise one of the family."""
    if rng.random() < plain:
        return plain_caption(wish)
    return _grammar().say(wish.modality.value, rng, wish.attributes)


def caption(
    scene: AnyScene,
    rng: random.Random,
    *,
    detail: float | None = None,
    open_thing: float = 0.06,
    plain: float = 0.5,
) -> str:
    """A caption that `scene` fulfils, whole or partial (see `partial_wish`)."""
    return caption_of(partial_wish(scene, rng, detail=detail, open_thing=open_thing), rng, plain=plain)
