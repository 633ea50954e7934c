"""The LLM's first language: repeatable, without media and calls, and true."""

from __future__ import annotations

import random
import re
from itertools import islice

import pytest

from modaverse.toybox.corpus import (
    KINDS,
    changing,
    corpus,
    in_words,
    questions,
    rewriting,
    sample_document,
    story,
)
from modaverse.toybox.rows import sample_row
from modaverse.toybox.tokenizer import ASSISTANT, EOS, USER
from modaverse.toybox.wordings.grammar import Split
from modaverse.toybox.world import COLOURS, THINGS

SPLITS: tuple[Split, ...] = ("train", "held_out")


@pytest.mark.parametrize("split", SPLITS)
def test_documents_end_and_hold_no_meta_response(split: Split) -> None:
    for text in islice(corpus(1, split), 1500):
        assert text.endswith(EOS)
        assert text.count(USER) == text.count(ASSISTANT)
        assert not re.search(r"<meta|</meta|<media|\"Model\"|T-to-[IVA]\"", text)


def test_the_same_seed_writes_the_same_documents() -> None:
    assert list(islice(corpus(5), 100)) == list(islice(corpus(5), 100))
    assert list(islice(corpus(5), 100)) != list(islice(corpus(6), 100))


@pytest.mark.parametrize("make", KINDS, ids=lambda make: make.__name__)
def test_each_kind_of_document_varies(make: object) -> None:
    rng = random.Random(2)
    texts = {make(rng, "train") for _ in range(60)}  # type: ignore[operator]
    assert len(texts) > 20
    assert all(texts)


def test_a_rewritten_request_keeps_its_thing() -> None:
    rng = random.Random(3)
    named = 0
    for _ in range(400):
        request, mark, caption = rewriting(rng, "train").removesuffix(EOS).partition(ASSISTANT)
        asked = [thing for thing in THINGS if re.search(rf"\b{thing}\b", request.lower())]
        meant = [thing for thing in THINGS if re.search(rf"\b{thing}\b", caption)]
        if mark and len(asked) == len(meant) == 1:
            named += 1
            assert asked == meant
    assert named > 40


def test_a_change_changes() -> None:
    rng = random.Random(4)
    for _ in range(100):
        text = changing(rng, "train")
        captions = re.findall(r"Caption: ([^<\n]+)", text)
        assert len(captions) != 2 or captions[0] != captions[1]


def test_colours_in_stories_belong_to_their_things() -> None:
    rng = random.Random(5)
    checked = 0
    for _ in range(400):
        text = story(rng, "train")
        pairs = re.findall(
            rf"a (?:(?:small|little|tiny|large|big|huge) )?({'|'.join(COLOURS)}) ({'|'.join(THINGS)})\b", text
        )
        colour_of = {thing: colour for colour, thing in pairs}
        for thing, colour in re.findall(r"What colour is the (\w+)\? (\w+)\.", text):
            if thing in colour_of:
                checked += 1
                assert colour_of[thing] == colour.lower(), text
    assert checked > 30


def test_a_row_in_words_numbers_its_media() -> None:
    rng = random.Random(6)
    for _ in range(200):
        row = sample_row(rng)
        text = in_words(row, rng)
        for number in range(1, len(row.media) + 1):
            assert re.search(rf"\b{number}: ", text)
        assert text.count(USER) * 2 == len(row.turns)


def test_questions_come_with_what_they_are_about() -> None:
    rng = random.Random(7)
    assert all(re.search(r"1: ", questions(rng, "train")) for _ in range(100))


def test_documents_are_a_function_of_their_generator() -> None:
    assert sample_document(random.Random(9)) == sample_document(random.Random(9))
