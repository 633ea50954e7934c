"""Words that do not exist, so that mini learns: what it does not know is not a misspelt cat."""

from __future__ import annotations

import random
import re
from functools import cache

from modaverse.toybox.wordings.grammar import Grammar

_ONSETS = re.findall(
    "[a-z]+",
    "b bl br c ch cr d dr f fl fr g gl gr h j k kl l m n p pl pr qu r s sh sk sl sn sp st t th tr v w y z",
)
_VOWELS = re.findall("[a-z]+", "a e i o u a e i o u ai ea ee oo ou")
_CODAS = re.findall("[a-z]+", "b ck d ff g k l ll m mp n nd ng nk p r rb rk rm rt s sk st t x zz")
_WORD = re.compile(r"[a-z]+")


def distance(a: str, b: str) -> int:
    """Levenshtein's distance."""
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, start=1):
        diagonal, row[0] = row[0], i
        for j, y in enumerate(b, start=1):
            diagonal, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, diagonal + (x != y))
    return row[-1]


def _letters(word: str) -> int:
    """The letters of a word as a bit mask."""
    mask = 0
    for letter in word:
        mask |= 1 << (ord(letter) - 97)
    return mask


@cache
def _known() -> dict[int, list[tuple[str, int]]]:
    """Words of things and colours with their letters, by the length of a word that may be near."""
    grammar = Grammar.load("lexicon.toml")
    names = [name for name in grammar.rules if name.startswith(("thing.", "colour."))]
    words = {w for name in names for line in grammar.rules[name] for w in _WORD.findall(line.source)}
    near: dict[int, list[tuple[str, int]]] = {length: [] for length in range(30)}
    for word in sorted(words):
        for length in range(max(0, len(word) - 2), len(word) + 3):
            near[length].append((word, _letters(word)))
    return near


def _is_new(word: str) -> bool:
    """True when every known word is more than two letters away."""
    mask = _letters(word)
    for known, other in _known()[len(word)]:
        # Each letter that only one of them has costs at least one change.
        if max((mask & ~other).bit_count(), (other & ~mask).bit_count()) <= 2 and distance(word, known) <= 2:
            return False
    return True


def pseudo_word(rng: random.Random, *, held_out: bool = False) -> str:
    """A word that nobody knows, more than two letters away from every thing and colour.

    One in five such words is kept out of training.
    """
    while True:
        word = "".join(
            rng.choice(_ONSETS) + rng.choice(_VOWELS) + (rng.choice(_CODAS) if rng.random() < 0.6 else "")
            for _ in range(rng.choice((1, 2, 2, 2, 3)))
        )
        if 4 <= len(word) <= 10 and (sum(map(ord, word)) % 5 == 0) is held_out and _is_new(word):
            return word
