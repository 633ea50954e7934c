"""The requests written by hand: their captions are captions, and no template gives them away."""

from __future__ import annotations

import random
import tomllib
from importlib import resources
from itertools import product

from modaverse.context import Modality
from modaverse.toybox.rows import sample_rows
from modaverse.toybox.wordings.captions import plain_caption
from modaverse.toybox.wordings.wishes import ATTRIBUTES_OF, OPEN_THINGS, VALUES, Wish
from modaverse.toybox.world import THINGS
from modaverse.training.rows import TextPart


def people() -> dict[str, list[str]]:
    text = resources.files("modaverse.toybox.wordings").joinpath("people.toml").read_text("utf-8")
    requests: dict[str, list[str]] = tomllib.loads(text)["requests"]
    return requests


def test_every_call_is_a_plain_caption() -> None:
    captions = set()
    for modality in Modality:
        names = ATTRIBUTES_OF[modality]
        for thing, *rest in product((*THINGS, *OPEN_THINGS), *((None, *VALUES[name]) for name in names)):
            captions.add(plain_caption(Wish(modality, str(thing), **dict(zip(names, rest, strict=True)))))
    assert {caption for calls in people().values() for caption in calls} <= captions


def test_no_row_holds_one_of_them() -> None:
    asked = {request.lower().strip("!?. ") for request in people()}
    for row in sample_rows(1500, random.Random(0).randrange(1000)):
        for turn in row.turns[::2]:
            for part in turn.parts:
                assert not isinstance(part, TextPart) or part.text.lower().strip("!?. ") not in asked
