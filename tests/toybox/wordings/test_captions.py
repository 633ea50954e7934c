"""Captions say a wish and nothing more, and no two wishes share a plain one."""

from __future__ import annotations

import random
import re
from functools import cache
from itertools import product

import pytest

from modaverse.context import Modality
from modaverse.toybox.wordings.captions import caption, caption_of, plain_caption
from modaverse.toybox.wordings.grammar import Grammar
from modaverse.toybox.wordings.wishes import (
    ATTRIBUTES_OF,
    MODALITY_OF,
    OPEN_THINGS,
    VALUES,
    Wish,
    complete,
    partial_wish,
    wish_for,
)
from modaverse.toybox.world import (
    THINGS,
    ClipScene,
    Scene,
    SoundScene,
    is_held_out,
    random_clip_scene,
    random_scene,
    random_sound_scene,
)

SCENES = {Modality.IMAGE: random_scene, Modality.VIDEO: random_clip_scene, Modality.AUDIO: random_sound_scene}


def all_wishes(modality: Modality) -> list[Wish]:
    names = ATTRIBUTES_OF[modality]
    values = product((*THINGS, *OPEN_THINGS), *((None, *VALUES[name]) for name in names))
    return [Wish(modality, thing, **dict(zip(names, rest, strict=True))) for thing, *rest in values]


@pytest.mark.parametrize(
    ("wish", "text"),
    [
        (Wish(Modality.IMAGE, "cat"), "a cat"),
        (Wish(Modality.IMAGE, "cat", "red", "small", "beach"), "a small red cat on a beach"),
        (Wish(Modality.IMAGE, "animal", "orange"), "an orange animal"),
        (Wish(Modality.IMAGE, "something", backdrop="snow"), "a thing in the snow"),
        (
            Wish(Modality.VIDEO, "car", "blue", "large", "night", "left", "fast"),
            "a large blue car at night, moving left fast",
        ),
        (Wish(Modality.VIDEO, "rocket", direction="up"), "a rocket, moving up"),
        (Wish(Modality.VIDEO, "boat", speed="slow"), "a boat, moving slowly"),
        (Wish(Modality.AUDIO, "bell", pitch="low", pace="slow"), "the low, slow sound of a bell"),
        (Wish(Modality.AUDIO, "object", pace="fast"), "the fast sound of an object"),
    ],
)
def test_plain_captions(wish: Wish, text: str) -> None:
    assert plain_caption(wish) == text


@pytest.mark.parametrize("modality", list(Modality))
def test_no_two_wishes_have_the_same_plain_caption(modality: Modality) -> None:
    wishes = all_wishes(modality)
    assert len({plain_caption(wish) for wish in wishes}) == len(wishes)


@cache
def words_of(attribute: str, value: str) -> set[str]:
    lines = Grammar.load("captions.toml").rules[f"{attribute}.{value}"]
    return {re.sub(r"^(\d+\* )", "", line.source) for line in lines}


@pytest.mark.parametrize("modality", list(Modality))
def test_a_caption_mentions_exactly_what_is_wished(modality: Modality) -> None:
    rng = random.Random(5)
    for _ in range(600):
        wish = partial_wish(SCENES[modality](rng), rng)
        text = caption_of(wish, rng, plain=0.3)
        for name in ("thing", *ATTRIBUTES_OF[modality]):
            for value in THINGS if name == "thing" else VALUES[name]:
                said = any(re.search(rf"\b{word}\b", text) for word in words_of(name, value))
                assert said == (getattr(wish, name) == value), (text, name, value)


def test_captions_repeat_with_their_seed_and_vary_without() -> None:
    scene = ClipScene("car", "blue", "large", "night", "left", "fast")
    one, other = random.Random(3), random.Random(3)
    texts = [caption(scene, one) for _ in range(200)]
    assert texts == [caption(scene, other) for _ in range(200)]
    assert len(set(texts)) > 60


def test_detail_decides_how_much_is_said() -> None:
    scene, rng = Scene("cat", "red", "small", "beach"), random.Random(0)
    assert {caption(scene, rng, detail=1.0, open_thing=0.0, plain=1.0) for _ in range(20)} == {
        "a small red cat on a beach"
    }
    assert {caption(scene, rng, detail=0.0, open_thing=0.0, plain=1.0) for _ in range(20)} == {"a cat"}
    assert {caption(scene, rng, detail=0.0, open_thing=1.0, plain=1.0) for _ in range(40)} == {
        "an animal",
        "a thing",
    }


@pytest.mark.parametrize("modality", list(Modality))
def test_what_completes_a_wish_fits_it(modality: Modality) -> None:
    rng = random.Random(8)
    for _ in range(200):
        wish = partial_wish(SCENES[modality](rng), rng, open_thing=0.2)
        scene = complete(wish, rng)
        assert wish.fits(scene)
        assert not is_held_out(scene)


def test_a_held_out_combination_that_is_asked_for_is_made() -> None:
    scene = random_scene(random.Random(0), held_out=True)
    assert complete(wish_for(scene), random.Random(1)) == scene


def test_kinds_do_not_mix() -> None:
    assert MODALITY_OF[SoundScene] is Modality.AUDIO
    assert not Wish(Modality.AUDIO, "bell").fits(Scene("bell", "red", "small", "day"))
