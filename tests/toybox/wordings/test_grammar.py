"""The template language: what it can say, and what it says about mistakes."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from modaverse.errors import GrammarError
from modaverse.toybox.wordings.grammar import Grammar, sentence_case, tidy

LEXICON = {
    "thing.cat": ["cat"],
    "thing.plural.cat": ["cats"],
    "colour.red": ["red"],
    "size.large": ["large", "~ vast"],
}
CAT = {"thing": "cat"}
RED_CAT = {"thing": "cat", "colour": "red"}


def every(
    rules: dict[str, list[str]], rule: str, attributes: dict[str, str] | None = None, **options: str
) -> Counter[str]:
    grammar, rng = Grammar({**LEXICON, **rules}), random.Random(0)
    return Counter(grammar.say(rule, rng, attributes, **options) for _ in range(400))  # type: ignore[arg-type]


def test_attributes_are_said_exactly_as_given() -> None:
    rules = {"np": ["a< {colour}> {thing}", "a {colour} {thing:plural}", "the {thing}"]}
    assert set(every(rules, "np", CAT)) == {"a cat", "the cat"}
    assert set(every(rules, "np", RED_CAT)) == {"a red cat", "a red cats"}


def test_attributes_are_handed_down_to_the_rules_that_can_say_them() -> None:
    rules = {
        "all": ["draw {np}<, {manner}>", "{np} {manner}"],
        "np": ["a {thing}"],
        "manner": ["in {colour}"],
    }
    assert set(every(rules, "all", CAT)) == {"draw a cat"}
    assert set(every(rules, "all", RED_CAT)) == {"draw a cat, in red", "a cat in red"}


def test_a_group_needs_all_of_its_attributes() -> None:
    rules = {"np": ["a< {size}, {colour}> {thing}", "one {thing}< {colour}>"]}
    assert set(every(rules, "np", RED_CAT)) == {"one cat red"}
    assert set(every(rules, "np", {**RED_CAT, "size": "large"})) == {"a large, red cat"}


def test_choices_weights_and_slots() -> None:
    said = every({"greet": ["9* hi[!|] {name}", "yo"]}, "greet", None, slots={"name": "Ada"})  # type: ignore[arg-type]
    assert set(said) == {"hi! Ada", "hi Ada", "yo"}
    assert 15 < said["yo"] < 75


def test_held_out_alternatives_never_occur_in_training_and_always_at_the_top_of_held_out() -> None:
    rules = {"np": ["a {size} {thing}", "~ a {thing} that is {size}"]}
    big = {"thing": "cat", "size": "large"}
    assert set(every(rules, "np", big)) == {"a large cat"}
    held_out = every(rules, "np", big, split="held_out")
    assert set(held_out) == {"a cat that is large", "a cat that is vast"}
    assert set(every(rules, "np", big, split="any")) == {*held_out, "a large cat", "a vast cat"}


def test_the_same_seed_says_the_same() -> None:
    grammar = Grammar({"a": ["[1|2|3|4|5|6]{b}"], "b": ["x", "y", "z"]})
    said = [[grammar.say("a", rng) for _ in range(20)] for rng in (random.Random(4), random.Random(4))]
    assert said[0] == said[1]
    assert len(set(said[0])) > 5


MISTAKES = [
    ({"a": ["[x|y"]}, {}, "never closed"),
    ({"a": ["x]"]}, {}, "closes nothing"),
    ({"a": ["<x]"]}, {}, "closes nothing"),
    ({"a": ["{Thing}"]}, {}, "cannot read"),
    ({"a": ["[{colour}|red]"]}, {}, "say different attributes"),
    ({"a": ["{b}"], "b": ["{a}"]}, {}, "contains itself"),
    ({"a": ["x {nothing}"]}, {}, "no rule 'nothing'"),
    ({"a": ["x"]}, {"thing": "cat"}, "no alternative of 'a' says just ['thing']"),
    ({"a": ["{thing}"]}, {"thing": "giraffe"}, "no rule 'thing.giraffe'"),
]


@pytest.mark.parametrize(("rules", "attributes", "message"), MISTAKES, ids=[m for _, _, m in MISTAKES])
def test_mistakes_are_named(rules: dict[str, list[str]], attributes: dict[str, str], message: str) -> None:
    with pytest.raises(GrammarError, match=message.replace("[", r"\[").replace("]", r"\]")) as caught:
        Grammar({**LEXICON, **rules}).say("a", random.Random(0), attributes)
    assert caught.value.hint


@pytest.mark.parametrize(
    ("text", "tidied"),
    [
        ("a  cat ,  now !", "a cat, now!"),
        ("draw a orange cat", "draw an orange cat"),
        ("A animal", "An animal"),
        ("a unicorn and a ufo", "a unicorn and a ufo"),
    ],
)
def test_tidying(text: str, tidied: str) -> None:
    assert tidy(text) == tidied


def test_sentences_begin_with_capitals() -> None:
    assert sentence_case("a cat. it is red? yes") == "A cat. It is red? Yes"
