"""What a text claims is read as a person would read it."""

from __future__ import annotations

import random

import pytest

from modaverse.toybox.evaluation.words import claims, is_honest, wish_of
from modaverse.toybox.wordings.captions import caption_of, plain_caption
from modaverse.toybox.wordings.grammar import Grammar
from modaverse.toybox.wordings.wishes import AnyScene, partial_wish, wish_for
from modaverse.toybox.world import random_clip_scene, random_scene, random_sound_scene

CLAIMED = [
    ("It is a cat.", "cat", ""),
    ("A small red cat at night.", "cat", "red"),
    ("I see a tiny crimson kitty by the sea.", "cat", "red"),
    ("That is the low, fast sound of a ship.", "boat", ""),
    ("No, it is a dog.", "dog", ""),
    ("It is not a cat but a blue dog.", "dog", "blue"),
    ("It's a cat, neither a dog nor a bird.", "cat", ""),
    ("It isn't red; it is green!", "", "green"),
    ("It came out as a red cat, not quite what you asked for.", "cat", "red"),
    ("It came out as a blue cat, not a red one.", "cat", "blue"),
    ("A green frog instead of a white one.", "frog", "green"),
    ("A cat under a blue sky.", "cat", ""),
    ("The sky is blue, the boat is white.", "boat", "white"),
    ("A sky blue automobile on a green field.", "car", "blue"),
    ("I can see a red boat.", "boat", "red"),
    ("I can tell that it is a phone.", "phone", ""),
    ("I know what this is. It's a bell!", "bell", ""),
    ("My picture shows a yellow train.", "train", "yellow"),
    ("I have drawn an orange frog: orange and large.", "frog", "orange"),
    ("It might be a cat or a dog.", "cat dog", ""),
    ("The first is a red cat, the second a blue dog.", "cat dog", "red blue"),
    ("I see no car.", "", ""),
    ("I know cats, dogs and birds.", "", ""),
    ("I can draw a cat in red or blue.", "", ""),
    ("My colours are red, orange and yellow.", "", ""),
    ("Shall I draw a boat?", "", ""),
    ("How about a cat", "", ""),
    ("Try: draw a small red cat on a beach.", "", ""),
    ("That is a cartoon on a carpet.", "", ""),
    ("You are welcome!", "", ""),
]

HONEST = [
    "Sorry, that is outside of my little world. I know cats, dogs, birds and frogs.",
    "I do not recognise anything that I know in this picture.",
    "I cannot tell what this is.",
    "That is not for me. I draw pictures, make short clips and make sounds.",
    "I know four animals (cat, dog, bird, frog). How about a cat?",
    "My things can only be small or large.",
]
NOT_HONEST = [
    "A red cat.",
    "Sorry, it is a cat.",
    "I do not know, perhaps it is blue.",
    "Here you go:",
    "Hello! How can I help you?",
    "",
]


@pytest.mark.parametrize(("text", "things", "colours"), CLAIMED)
def test_reads_what_is_claimed_and_leaves_what_is_only_mentioned(
    text: str, things: str, colours: str
) -> None:
    found = claims(text)
    assert found.things == set(things.split())
    assert found.colours == set(colours.split())


def test_says_means_this_and_no_other() -> None:
    assert claims("A red cat.").says("cat", "red")
    assert claims("A red cat.").says("cat")
    assert not claims("A cat.").says("cat", "red")
    assert not claims("A red cat or a red dog.").says("cat", "red")


@pytest.mark.parametrize("text", HONEST)
def test_honest_texts_claim_nothing_and_say_what_cannot_be(text: str) -> None:
    assert is_honest(text)


@pytest.mark.parametrize("text", NOT_HONEST)
def test_a_claim_or_a_mere_phrase_is_not_honest(text: str) -> None:
    assert not is_honest(text)


def _scene(rng: random.Random) -> AnyScene:
    return rng.choice((random_scene, random_clip_scene, random_sound_scene))(rng)


def test_reads_every_description_that_mini_is_taught() -> None:
    grammar = Grammar.load("answers.toml", "plain.toml")
    rng = random.Random(1)
    for _ in range(600):
        scene = _scene(rng)
        wish = wish_for(scene)
        said = {name: value for name, value in wish.attributes.items() if name != "size"}
        for rule in ("describe", "missed"):
            attributes = wish.attributes if (rule, wish.modality) == ("describe", "image") else said
            text = grammar.say(f"{rule}.{wish.modality}", rng, attributes)
            assert claims(text).says(scene.thing, attributes.get("colour")), text


def test_finds_every_refusal_that_mini_is_taught_honest() -> None:
    grammar = Grammar.load("answers.toml", "plain.toml")
    rng = random.Random(2)
    refusals = [name for name in grammar.rules if name.startswith("refuse.")]
    for rule in (*refusals, "unknown.image", "unknown.video", "unknown.audio"):
        for _ in range(20):
            text = grammar.say(rule, rng)
            assert is_honest(text), (rule, text)


def test_finds_no_claim_in_small_talk() -> None:
    grammar = Grammar.load("answers.toml", "plain.toml")
    rng = random.Random(3)
    for rule in [name for name in grammar.rules if name.startswith(("social.", "mini."))]:
        for _ in range(10):
            text = grammar.say(rule, rng, slots={"x": "cats"})
            assert not claims(text), (rule, text)


def test_reads_captions_back() -> None:
    rng = random.Random(4)
    for _ in range(500):
        wish = partial_wish(_scene(rng), rng, open_thing=0.1)
        assert wish_of(plain_caption(wish), wish.modality) == wish
        caption = caption_of(wish, rng, plain=0)
        assert wish_of(caption, wish.modality) == wish, caption


@pytest.mark.parametrize("caption", ["a giraffe", "a red", "a cat and a dog", "a red blue cat", ""])
def test_captions_without_one_meaning_are_none(caption: str) -> None:
    from modaverse.context import Modality

    assert wish_of(caption, Modality.IMAGE) is None
