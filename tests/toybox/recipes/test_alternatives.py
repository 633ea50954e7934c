from __future__ import annotations

import random

from modaverse.context import Modality
from modaverse.toybox.recipes.alternatives import lacking_answers, lacking_pairs
from modaverse.toybox.recipes.encoder import READOUTS, fitting
from modaverse.toybox.recipes.renders import Unknown
from modaverse.toybox.wordings.wishes import Wish, partial_wish
from modaverse.toybox.world import ClipScene, Scene, SoundScene, is_held_out, random_clip_scene, random_scene

WHITE_DOG = Scene("dog", "white", "large", "day")
WHITE_ROCKET = Scene("rocket", "white", "large", "day")


def lacking(question: str, truth: object) -> set[str]:
    answers = READOUTS[question]
    row = lacking_answers(question, answers, [truth])[0].tolist()  # type: ignore[list-item]
    return {answer for answer, is_lacking in zip(answers, row, strict=True) if is_lacking}


def test_a_thing_that_is_never_shown_in_a_colour_is_no_wrong_answer_there() -> None:
    assert is_held_out(WHITE_ROCKET)
    assert not is_held_out(WHITE_DOG)
    assert "rocket" in lacking("thing", WHITE_DOG)
    assert "rocket" not in lacking("thing", Scene("dog", "red", "large", "day"))
    assert "white" in lacking("colour", Scene("rocket", "red", "large", "day"))


def test_nothing_else_is_left_out() -> None:
    for scene in (WHITE_DOG, ClipScene("dog", "white", "large", "day", "left", "slow")):
        assert lacking("size", scene) == set()
        assert not lacking("thing", scene) & {"dog", "unknown"}
    assert lacking("direction", ClipScene("dog", "white", "large", "day", "left", "slow")) == set()
    assert lacking("thing", Unknown(None)) == set()
    assert lacking("thing", Unknown(WHITE_DOG)) == lacking("thing", WHITE_DOG)


def test_sounds_leave_out_the_pair_that_their_thing_lacks() -> None:
    held_out = next(
        (p, q) for p in ("low", "high") for q in ("slow", "fast") if is_held_out(SoundScene("bell", p, q))
    )
    pitch, pace = held_out
    other = "slow" if pace == "fast" else "fast"
    assert lacking("pace", SoundScene("bell", pitch, other)) == {pace}
    assert "bell" in lacking("thing", SoundScene("phone", pitch, pace))


def test_captions_say_nothing_of_combinations_that_are_never_shown() -> None:
    captions = [
        Wish(Modality.IMAGE, "rocket"),
        Wish(Modality.IMAGE, "rocket", colour="red"),  # with the dog's colour it would be one
        Wish(Modality.IMAGE, "cat"),
        Wish(Modality.IMAGE, "dog", size="large"),
        None,
    ]
    assert lacking_pairs([WHITE_DOG], captions).tolist() == [[True, True, False, False, False]]


def test_a_caption_that_fits_is_never_left_out() -> None:
    rng = random.Random(0)
    for draw in (random_scene, random_clip_scene):
        scenes = [draw(rng) for _ in range(60)]
        wishes = [partial_wish(scene, rng) for scene in scenes]
        pairs = lacking_pairs(scenes, wishes)
        assert not (pairs & fitting(scenes, wishes)).any()
        assert 0.05 < pairs.float().mean() < 0.4
