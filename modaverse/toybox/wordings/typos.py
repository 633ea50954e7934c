"""The hand that types: misspellings, missing marks and odd capitals, as people make them in a hurry.

A misspelling never turns one word of Toybox's vocabulary into another ("cat" never becomes "car"), so the
truth of a request survives.
"""

from __future__ import annotations

import random
import re
from functools import cache

from modaverse.toybox.wordings.grammar import Grammar, sentence_case

_WORD = re.compile(r"[A-Za-z']+")
_KEYS = ("qwertyuiop", "asdfghjkl", "zxcvbnm")


@cache
def _neighbours() -> dict[str, str]:
    table: dict[str, str] = {}
    for row, below in zip(_KEYS, (*_KEYS[1:], ""), strict=True):
        for place, key in enumerate(row):
            near = row[max(0, place - 1) : place] + row[place + 1 : place + 2] + below[place : place + 1]
            table[key] = near
    return table


@cache
def known_words() -> frozenset[str]:
    """Words that a slip of the hand must not produce: those of attributes and of what mini does not know."""
    grammar = Grammar.load("lexicon.toml", "outside.toml")
    words = {
        word.lower()
        for lines in grammar.rules.values()
        for line in lines
        for word in _WORD.findall(line.source)
    }
    return frozenset(
        words | {"a", "an", "the", "not", "no", "now", "can", "cats", "cars", "bat", "rat", "bed", "ball"}
    )


def slip(word: str, rng: random.Random) -> str:
    """`word` with one slip of the hand: letters swapped, dropped, doubled, or a neighbouring key."""
    if len(word) < 3:
        return word
    for _ in range(4):
        place = rng.randrange(1 if len(word) > 3 else 0, len(word) - 1)
        roll = rng.random()
        if roll < 0.4:
            slipped = word[:place] + word[place + 1] + word[place] + word[place + 2 :]
        elif roll < 0.68 and len(word) > 3:
            slipped = word[:place] + word[place + 1 :]
        elif roll < 0.8 or len(word) < 5:
            slipped = word[:place] + word[place] + word[place:]
        else:
            near = _neighbours().get(word[place].lower())
            slipped = word[:place] + rng.choice(near) + word[place + 1 :] if near else word
        if slipped.lower() not in known_words():
            return slipped
    return word


def misspell(text: str, rng: random.Random, slips: int) -> str:
    """`text` with `slips` slips of the hand, in words of at least three letters."""
    for _ in range(slips):
        words = [match for match in _WORD.finditer(text) if len(match.group()) >= 3]
        if not words:
            return text
        match = rng.choice(words)
        text = text[: match.start()] + slip(match.group(), rng) + text[match.end() :]
    return text


def typed(text: str, rng: random.Random, *, hurry: float = 1.0) -> str:
    """`text` as somebody might type it; `hurry` scales the chance of everything that goes wrong (0: nothing).

    Half of all texts are lower case, four in ten lack the last mark, one in five has slips.
    """
    roll = rng.random() / hurry if hurry > 0 else 2.0
    if roll < 0.35:
        text = text.lower()
    elif roll < 0.37:
        text = text.upper()
    elif roll < 0.39:
        text = text.title()
    elif roll < 0.9 or hurry == 0:
        text = sentence_case(text)
    if rng.random() < 0.4 * hurry and text[-1:] in ".?!":
        text = text[:-1]
    elif text[-1:] not in ".?!,:)" and rng.random() < 0.5:
        text += rng.choice(("!", ".", ".", ".", " ", "..", "!!", " ."))
    if rng.random() < 0.15 * hurry:
        text = text.replace("'", "")
    if rng.random() < 0.08 * hurry:
        text = text.replace(",", "")
    if rng.random() < 0.03 * hurry:
        text = text.replace(", ", ",")
    if rng.random() < 0.22 * hurry:
        text = misspell(text, rng, rng.choice((1, 1, 1, 1, 1, 2, 2, 3)))
    if rng.random() < 0.03 * hurry and " " in text:
        places = [place for place, letter in enumerate(text) if letter == " "]
        place = rng.choice(places)
        text = text[:place] + text[place + 1 :] if rng.random() < 0.5 else text[:place] + " " + text[place:]
    return text
