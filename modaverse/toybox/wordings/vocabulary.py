"""Lines that hold the words of Toybox and the English around them: what the tokenizer is trained on."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from importlib import resources

from modaverse.interfaces import MODELS
from modaverse.toybox.wordings.captions import caption, plain_caption
from modaverse.toybox.wordings.grammar import Grammar
from modaverse.toybox.wordings.typos import typed
from modaverse.toybox.wordings.wishes import partial_wish
from modaverse.toybox.world import random_clip_scene, random_scene, random_sound_scene

_SCENES = (random_scene, random_clip_scene, random_sound_scene)


def english() -> list[str]:
    text = resources.files(__package__).joinpath("english.txt").read_text(encoding="utf-8")
    return text.splitlines()


def lines(seed: int, count: int) -> Iterator[str]:
    """About `count` lines, the same for the same seed. Held-out words of Toybox are left out."""
    rng = random.Random(seed)
    grammar = Grammar.load("lexicon.toml", "subjects.toml", "draw.toml", "frames.toml", "outside.toml")
    outside = [name for name in grammar.rules if name.startswith("outside.")]
    general = english()
    words = [word for line in general for word in line.split()]
    for _ in range(count):
        roll = rng.random()
        wish = partial_wish(rng.choice(_SCENES)(rng), rng)
        kind = wish.modality.value
        if roll < 0.2:
            yield caption(rng.choice(_SCENES)(rng), rng)
        elif roll < 0.3:
            yield json.dumps({"Model": MODELS[wish.modality], "Input": plain_caption(wish)})
        elif roll < 0.55:
            subject = grammar.say(f"subject.{kind}", rng, wish.attributes)
            yield typed(grammar.say(f"ask.{kind}", rng, slots={"s": subject}), rng)
        elif roll < 0.65:
            subject = grammar.say(f"loose.{kind}", rng, wish.attributes)
            yield typed(grammar.say(f"ask.loose.{kind}", rng, slots={"l": subject}), rng)
        elif roll < 0.8:
            yield typed(grammar.say(rng.choice(outside), rng), rng, hurry=0.5)
        elif roll < 0.93:
            yield rng.choice(general[-12:])
        else:
            yield " ".join(rng.choices(words, k=8))
