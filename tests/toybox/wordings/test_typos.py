"""Misspellings look like people's, and never say something else."""

from __future__ import annotations

import random

from modaverse.toybox.wordings.pseudo import distance, pseudo_word
from modaverse.toybox.wordings.typos import known_words, misspell, slip, typed
from modaverse.toybox.world import COLOURS, THINGS


def test_a_slip_changes_one_spot_and_makes_no_other_known_word() -> None:
    rng = random.Random(0)
    for word in (*THINGS, *COLOURS, "beach", "night", "draw", "slowly"):
        for _ in range(60):
            slipped = slip(word, rng)
            assert slipped == word or slipped not in known_words()
            assert distance(word, slipped) <= 2  # a swap counts twice


def test_a_cat_never_becomes_a_car() -> None:
    rng = random.Random(1)
    assert {misspell("cat", rng, 1) for _ in range(300)} & {"car", "bat", "rat", "can"} == set()


def test_without_hurry_nothing_but_capitals_and_the_last_mark_changes() -> None:
    rng = random.Random(2)
    for _ in range(200):
        text = typed("what's a cat, then?", rng, hurry=0)
        assert text == "What's a cat, then?"


def test_in_a_hurry_half_is_small_and_one_in_five_misspelt() -> None:
    rng = random.Random(3)
    texts = [typed("please draw me a small red cat on a beach", rng) for _ in range(2000)]
    small = sum(text == text.lower() for text in texts) / 2000
    words = {"please", "draw", "me", "a", "small", "red", "cat", "on", "beach"}
    misspelt = (
        sum(not {word.strip(".! ").lower() for word in text.split()} <= words | {""} for text in texts) / 2000
    )
    assert 0.25 < small < 0.5
    assert 0.15 < misspelt < 0.35


def test_invented_words_are_far_from_known_ones_and_held_out_apart() -> None:
    rng = random.Random(4)
    train = {pseudo_word(rng) for _ in range(300)}
    held_out = {pseudo_word(rng, held_out=True) for _ in range(100)}
    assert len(train) > 250
    assert not train & held_out
    for word in train | held_out:
        assert all(distance(word, known) > 2 for known in (*THINGS, *COLOURS))
