"""The lazily built automaton against Python's own `re`, on the terminals of every grammar and others."""

from __future__ import annotations

import random
import re

import pytest

from modaverse.metaresponse.automaton import State, Terminals
from modaverse.metaresponse.grammar import load_dialect

ALPHABET = '"\\{}[]:,<>/ \n\t0123456789.-+eEtrufalsnMIGd#é日😀\x00\x1f'
PATTERNS = {
    f"{name}.{term.name}": term.pattern.to_regexp()
    for name in ("meta_response", "tool_call", "modaverse_v0")
    for term in load_dialect(name).lark.terminals
} | {"counts": "a{2,4}b{0,2}|.{3}", "groups": "(ab|a(b|c)?)+[^a-c]", "literal": "[^<]{2}x?"}


def longest(start: State, text: str) -> int | None:
    """How much of `text` the automaton takes as one terminal, ending where it can still be one."""
    state: State | None = start
    best = None
    for index, char in enumerate(text):
        state = state[char] if state is not None else None
        if state is None:
            break
        if state.final is not None:
            best = index + 1
    return best


@pytest.mark.parametrize("name", PATTERNS)
def test_it_takes_what_the_pattern_takes(name: str) -> None:
    pattern = re.compile(PATTERNS[name])
    start = Terminals({name: PATTERNS[name]}, {}).scanner([name])
    chance = random.Random(name)
    alphabet = ALPHABET + PATTERNS[name] * 2 + "abc"
    for _ in range(400):
        text = "".join(chance.choice(alphabet) for _ in range(chance.randint(1, 8)))
        full = [size for size in range(1, len(text) + 1) if pattern.fullmatch(text, 0, size)]
        assert longest(start, text) == max(full, default=None)


def test_a_fixed_string_wins_over_a_pattern() -> None:
    start = Terminals({"KEY": '"Model"', "STRING": '"[^"]*"'}, {}).scanner(["KEY", "STRING"])
    ends = {}
    for text in ('"Model"', '"Mode"', '"Models"'):
        state: State | None = start
        for char in text:
            assert state is not None
            state = state[char]
        assert state is not None
        assert state.complete
        ends[text] = state.final
    assert ends == {'"Model"': "KEY", '"Mode"': "STRING", '"Models"': "STRING"}


@pytest.mark.parametrize("marker", ["<meta>", "aab", "abab", "aaa"])
def test_markers_are_found_wherever_they_begin(marker: str) -> None:
    """What is held is the longest end of the text that begins the marker, as in Knuth, Morris and Pratt."""
    first = re.escape(marker[0])
    terminals = Terminals({"OPEN": re.escape(marker), "ONE": first, "PROSE": f"[^{first}]+"}, {})
    chance = random.Random(marker)
    for _ in range(300):
        text = "".join(chance.choice(marker + "x") for _ in range(12))
        state: State | None = terminals.searcher(["ONE", "PROSE"], ["OPEN"])
        for index, char in enumerate(text):
            assert state is not None
            state = state[char]
            assert state is not None
            read = text[: index + 1]
            assert (state.final == "OPEN") is read.endswith(marker)
            held = max(size for size in range(len(marker) + 1) if read.endswith(marker[:size]))
            assert state.hold == held
            if state.final:
                break


def test_all_of_unicode_costs_no_memory() -> None:
    start = Terminals({"PROSE": "[^<]+"}, {}).scanner(["PROSE"])
    state = start["x"]
    assert state is not None
    state = state["x"]
    assert state is not None
    for code in range(0x20, 0x10FFFF, 17):
        assert (state[chr(code)] is state) is (chr(code) != "<")
    assert len(state) <= 4096
