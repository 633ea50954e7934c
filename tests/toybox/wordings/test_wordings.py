"""The wordings themselves: every line can be said, says what it should, and the held-out ones stay apart."""

from __future__ import annotations

import random
import re
from collections.abc import Iterable, Iterator
from functools import cache
from itertools import combinations

import pytest

from modaverse.context import Modality
from modaverse.toybox.rows.chat import answers, requests
from modaverse.toybox.wordings.grammar import (
    ATTRIBUTES,
    Alternative,
    Choice,
    Grammar,
    Group,
    Node,
    Slot,
    _slots,
)
from modaverse.toybox.wordings.wishes import ATTRIBUTES_OF, VALUES, Wish, partial_wish, wish_for
from modaverse.toybox.world import THINGS, random_clip_scene, random_scene, random_sound_scene

GRAMMARS = {"requests": requests(), "answers": answers(), "captions": Grammar.load("captions.toml")}
SCENES = {Modality.IMAGE: random_scene, Modality.VIDEO: random_clip_scene, Modality.AUDIO: random_sound_scene}
SLOTS = {
    "s": "a cat", "l": "cat, red", "a": "a cat", "b": "a dog", "c": "a car", "w": "draw a cat", "x": "cats",
    "n": "2", "one": "red", "two": "blue", "medium": "picture", "which": "first", "are": "are",
    "pseudo": "blorf", "why": "it is broken", "guess": "a cat", "number": "two",
    "times": "twice", "change": "in red", "cue": "on paper",
}  # fmt: skip
VALUE = {"thing": "cat", **{name: values[0] for name, values in VALUES.items()}}


def attribute_sets(grammar: Grammar, alternative: Alternative) -> Iterator[frozenset[str]]:
    """Every set of attributes that the alternative may be able to say, small ones first."""
    names = {slot.name for slot in _slots(alternative.body)}
    reach = (names & ATTRIBUTES).union(*(grammar._may_say(n, ()) for n in names & grammar.rules.keys()))
    for size in range(len(reach) + 1):
        yield from map(frozenset, combinations(sorted(reach), size))


@pytest.mark.parametrize("name", GRAMMARS)
def test_every_line_can_be_said(name: str) -> None:
    grammar = GRAMMARS[name]
    for rule, lines in grammar.rules.items():
        for line in lines:
            plans = (grammar._plan(line, given, "any") for given in attribute_sets(grammar, line))
            assert any(plans), f"{rule}: nothing can make it say {line.source!r}"


@pytest.mark.parametrize("name", GRAMMARS)
def test_every_reference_exists(name: str) -> None:
    grammar = GRAMMARS[name]
    for rule, lines in grammar.rules.items():
        for slot in (slot for line in lines for slot in _slots(line.body)):
            if slot.name not in ATTRIBUTES:
                assert slot.name in grammar.rules or slot.name in SLOTS, f"{rule}: {slot.name}"
            elif slot.name not in ("thing",):
                form = f"{slot.name}.{slot.form}" if slot.form else slot.name
                assert all(f"{form}.{value}" in grammar.rules for value in VALUES[slot.name]), (
                    f"{rule}: {form}"
                )


def test_marks_of_media_stand_only_where_media_are_given() -> None:
    about_media = ("from.", "about.", "count.", "which.", "same.", "compare.", "pick.")
    marked = {rule for rule, lines in requests().rules.items() if any("@" in line.source for line in lines)}
    assert len(marked) > 20
    assert all(rule.startswith(about_media) for rule in marked), sorted(marked)


def test_there_are_hundreds_of_structures_for_each_kind_of_request() -> None:
    grammar = requests()
    for kind in ("image", "video", "audio"):
        asking = len(grammar.rules[f"ask.{kind}"]) * len(grammar.rules[f"subject.{kind}"])
        loose = len(grammar.rules[f"ask.loose.{kind}"]) * len(grammar.rules[f"loose.{kind}"])
        assert asking + loose > 500


# ----------------------------------------------------------------------------- truth and text


@cache
def synonyms_of(attribute: str, value: str) -> re.Pattern[str]:
    """Any synonym of the value, in any of the attribute's forms."""
    forms = [rule for rule in requests().rules if re.fullmatch(rf"{attribute}(\.\w+)?\.{value}", rule)]
    synonyms = (line.source for form in forms for line in requests().rules[form])
    words = (re.escape(re.sub(r"^(~ )?(\d+\* )?", "", synonym)) for synonym in synonyms)
    return re.compile(rf"\b({'|'.join(words)})\b")


def mentions(text: str, attribute: str, value: str) -> bool:
    return synonyms_of(attribute, value).search(text) is not None


@pytest.mark.parametrize("modality", list(Modality))
@pytest.mark.parametrize("form", ["subject", "loose"])
def test_a_subject_says_what_the_wish_says(modality: Modality, form: str) -> None:
    rng = random.Random(1)
    for _ in range(400):
        wish = partial_wish(SCENES[modality](rng, held_out=None), rng)
        text = requests().say(f"{form}.{modality.value}", rng, wish.attributes, split="any")
        for attribute, value in wish.attributes.items():
            assert mentions(text, attribute, value), (text, attribute, value)
        others = [thing for thing in THINGS if thing != wish.thing]
        assert not any(re.search(rf"\b{thing}\b", text) for thing in others), text


@pytest.mark.parametrize("modality", list(Modality))
def test_comments_say_just_what_they_are_given(modality: Modality) -> None:
    rng = random.Random(2)
    names = ATTRIBUTES_OF[modality]
    for _ in range(300):
        said = wish_for(SCENES[modality](rng, held_out=None)).attributes
        text = answers().say(
            f"describe.{modality.value}",
            rng,
            {k: v for k, v in said.items() if k != "size" or modality is Modality.IMAGE},
        )
        words = set(re.findall(r"[a-z]+", text))
        for name in ("thing", "colour", "direction", "pitch"):
            if name == "thing" or name in names:
                values = THINGS if name == "thing" else VALUES[name]
                assert words & set(values) == {said[name]}, text


# ------------------------------------------------------------------------------------- held out


def pattern(grammar: Grammar, nodes: Iterable[Node]) -> str:
    """A regular expression for what an alternative's skeleton can look like, whatever fills its slots."""
    out = ""
    for node in nodes:
        if isinstance(node, str):
            out += re.sub(r"(\\ )+", r"\\s*", re.escape(node.lower()))
        elif isinstance(node, Slot):
            out += r"\s*.+?\s*"
        elif isinstance(node, Choice):
            out += "(?:" + "|".join(pattern(grammar, branch) for branch in node.branches) + ")"
        elif isinstance(node, Group):
            out += f"(?:{pattern(grammar, node.body)})?"
    return out


def literal_words(nodes: Iterable[Node]) -> int:
    return sum(len(re.findall(r"\w+|[/(:;-]", node)) for node in nodes if isinstance(node, str))


STRUCTURES = [
    rule
    for rule, lines in requests().rules.items()
    if any(literal_words(line.body) and any(_slots(line.body)) for line in lines if line.held_out)
]


@pytest.mark.parametrize("rule", STRUCTURES)
def test_no_skeleton_that_is_held_out_occurs_in_training(rule: str) -> None:
    grammar, rng = requests(), random.Random(3)
    lines = [line for line in grammar.rules[rule] if line.held_out and literal_words(line.body)]
    skeletons = {line.source: re.compile(pattern(grammar, line.body)) for line in lines}
    sets = sorted(
        {given for line in grammar.rules[rule] for given in attribute_sets(grammar, line)}, key=sorted
    )
    sets = [given for given in sets if grammar.eligible(rule, given, "train")]
    assert sets
    for _ in range(80):
        given = {name: VALUE[name] for name in rng.choice(sets)}
        text = grammar.say(rule, rng, given, SLOTS).lower()
        for source, skeleton in skeletons.items():
            assert not skeleton.fullmatch(text), f"{text!r} is {source!r}"


def test_a_thousand_lines_are_held_out() -> None:
    lines = [
        line for rule, lines in requests().rules.items() if rule.split(".")[0] not in VALUE for line in lines
    ]
    held_out = sum(line.held_out for line in lines)
    assert held_out > 1000
    assert 0.04 < held_out / len(lines) < 0.2


def test_every_request_has_a_structure_that_is_held_out() -> None:
    grammar = requests()
    tops = [
        r
        for r in grammar.rules
        if r.split(".")[0] in ("ask", "from", "about", "many", "tell", "social", "mini")
    ]
    tops = [rule for rule in tops if not rule.startswith(("many.wish", "tell.w"))]
    assert len(tops) > 50
    for rule in tops:
        assert any(line.held_out for line in grammar.rules[rule]), rule


def test_an_open_wish_is_fulfilled_by_any_of_its_kind() -> None:
    wish = Wish(Modality.IMAGE, "animal", colour="red")
    scene = random_scene(random.Random(0), held_out=None)
    scenes = [type(scene)(thing, "red", "small", "day") for thing in THINGS]
    assert [scene.thing for scene in scenes if wish.fits(scene)] == ["cat", "dog", "bird", "frog"]
