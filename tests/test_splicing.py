"""Places of media that are still in the making: a matter of tokens alone."""

from __future__ import annotations

import pytest

from modaverse.context import Malformed, MetaResponse, ParserEvent, TextDelta
from modaverse.splicing import SplicePlaces, ends_sentence

CALL = MetaResponse("T-to-I", "a cat")


@pytest.mark.parametrize(
    "text",
    ["It is on its way.", "Really?", "Soon! ", 'He said "wait."', "(One moment.)", "**Done.**", "好的。",
     "真的吗？", "A heading\n", "A list:\n\n", "Hm…", "A cat etc.", "x" * 500 + ". "],
)  # fmt: skip
def test_ends_of_sentences(text: str) -> None:
    assert ends_sentence(text)


@pytest.mark.parametrize(
    "text",
    ["", ".", "\n", "Here it is:", "It is on", "Pi is 3.", "Things like cats, e.g.", "Made in the U.",
     "One, two;", "wait. then", "»"],
)  # fmt: skip
def test_what_ends_no_sentence(text: str) -> None:
    assert not ends_sentence(text)


def places(after: int, *tokens: str | MetaResponse | Malformed) -> list[int]:
    """How many calls have their place behind each token; "~" is a token of which no event comes."""
    followed = SplicePlaces(after)
    due = []
    for token in tokens:
        events: list[ParserEvent] = [TextDelta(token) if isinstance(token, str) else token]
        due.append(followed.read([] if token == "~" else events, settled=token != "~"))
    return [*due, followed.end()]


def test_the_place_is_the_end_of_the_sentence_in_which_the_count_is_reached() -> None:
    words = ("I", " am", " at", " it", ".", " It", " comes", ".", " There", ".")
    assert places(0, CALL, *words) == [0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0]
    assert places(5, CALL, *words).index(1) == 5
    assert places(6, CALL, *words).index(1) == 8
    assert places(8, CALL, *words).index(1) == 8
    assert places(9, CALL, *words).index(1) == 10


def test_without_such_a_sentence_it_is_the_end_of_the_answer() -> None:
    assert places(11, CALL, *["word."] * 5) == [0, 0, 0, 0, 0, 0, 1]
    assert places(0, CALL) == [0, 1]
    assert places(0, "word.") == [0, 0]


def test_what_was_written_before_a_call_is_no_sentence_behind_it() -> None:
    assert places(0, "Look at this.", CALL, "~", "~") == [0, 0, 0, 0, 1]
    assert places(0, CALL, "Look at this", Malformed("<meta>x", "no"), ".") == [0, 0, 0, 0, 1]


def test_no_place_lies_where_something_is_open() -> None:
    assert places(0, CALL, "It is coming", ".", "~") == [0, 0, 1, 0, 0]
    followed = SplicePlaces(0)
    followed.read([CALL], settled=True)
    assert followed.read([TextDelta("It is coming.")], settled=False) == 0
    assert followed.read([TextDelta("")], settled=True) == 1


def test_each_call_counts_for_itself_and_the_oldest_come_first() -> None:
    assert places(4, CALL, " and", " then", CALL, " Soon", ".", " Wait", ".", " There", ".") == [
        0, 0, 0, 0, 0, 1, 0, 1, 0, 0, 0,
    ]  # fmt: skip
    assert places(1, CALL, CALL, " Soon", ".") == [0, 0, 0, 2, 0]
