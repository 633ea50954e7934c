"""The template language of Toybox's wordings: TOML files of rules, expanded with a seeded random generator.

A rule is a list of alternatives; dotted keys and tables make dotted names:

    draw = ["3* draw [me|us|] {subject}", "{subject}, [please|pls]", "~ let there be {subject}"]

    3* ...      three times as likely as the others
    ~ ...       held out: never in the split "train"
    [a|b|]      one of the branches; an empty branch makes it optional
    {rule}      another rule
    {slot}      a value that the caller gives, as it is
    {colour}    an *attribute*: its value `red` stands for the rule `colour.red`, a list of synonyms;
    {thing:plural}   the form `plural` of an attribute: the rule `thing.plural.cat`
    <, {size}>  a group: left out unless all of its attributes (or those of a rule in it) are to be said

The attributes of one expansion are said **exactly as given: all of them and no other**. An alternative
that cannot do so is not eligible: `{colour}` outside a group needs a colour, and a colour that is given must
be said by the alternative itself or by one of the rules in it. So the text and its truth cannot drift
apart, however many wordings are added.

The split "train" never takes a held-out alternative. "any" takes one in two of five places where there
is one; "held_out" does so too, and always takes one at the rule that is asked for (where one is eligible).
"""

from __future__ import annotations

import random
import re
import tomllib
from bisect import bisect
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from itertools import accumulate
from typing import Any, Literal

from modaverse.errors import GrammarError

Split = Literal["train", "held_out", "any"]

ATTRIBUTES = frozenset(
    ("thing", "colour", "size", "backdrop", "direction", "speed", "pitch", "pace")
)  # fmt: skip

_TOKEN = re.compile(r"\{([a-z_0-9.]+)(?::([a-z_]+))?\}|([\[\]|<>])|([^\[\]{}|<>]+)")
_MARKS = re.compile(r"^(~ ?)?(?:(\d+)\* ?)?(~ ?)?")


# ------------------------------------------------------------------------------- the compiled form


@dataclass(frozen=True, slots=True)
class Slot:
    """`{name}` or `{name:form}`."""

    name: str
    form: str | None


@dataclass(frozen=True, slots=True)
class Choice:
    """`[a|b]`: one of the branches."""

    branches: tuple[Sequence_, ...]


@dataclass(frozen=True, slots=True)
class Group:
    """`<...>`: said only when one of its attributes is to be said here."""

    body: Sequence_


Node = str | Slot | Choice | Group
Sequence_ = tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Alternative:
    """One line of a rule."""

    source: str
    body: Sequence_
    weight: int
    held_out: bool


@dataclass(frozen=True, slots=True)
class _Plan:
    """An eligible alternative: which attributes the text itself says, and which each rule in it."""

    alternative: Alternative
    direct: frozenset[str]
    shares: Mapping[str, frozenset[str]] = field(hash=False)


def _parse(source: str, where: str) -> Sequence_:
    """The nodes of one alternative.

    Raises:
        GrammarError: brackets that do not match, or a brace that names nothing.
    """
    stack: list[tuple[str, list[list[Node]]]] = [("", [[]])]
    position = 0
    while position < len(source):
        match = _TOKEN.match(source, position)
        if match is None:
            raise GrammarError(
                f"{where}: cannot read {source[position:]!r} in {source!r}",
                hint="A slot is written {name} or {name:form}, in small letters.",
            )
        position = match.end()
        name, form, mark, text = match.groups()
        opener, branches = stack[-1]
        if text is not None:
            branches[-1].append(text)
        elif name is not None:
            branches[-1].append(Slot(name, form))
        elif mark in "[<":
            stack.append((mark, [[]]))
        elif mark == "|" and opener == "[":
            branches.append([])
        elif (opener, mark) in {("[", "]"), ("<", ">")}:
            stack.pop()
            node: Node
            node = Choice(tuple(tuple(b) for b in branches)) if mark == "]" else Group(tuple(branches[0]))
            stack[-1][1][-1].append(node)
        else:
            raise GrammarError(
                f"{where}: {mark!r} at column {position} of {source!r} closes nothing",
                hint="Write [a|b] for a choice and <...> for a group.",
            )
    if len(stack) > 1:
        raise GrammarError(
            f"{where}: {stack[-1][0]!r} is never closed in {source!r}", hint="Close the bracket."
        )
    return tuple(stack[0][1][0])


def _alternative(source: str, where: str) -> Alternative:
    marks = _MARKS.match(source)
    assert marks is not None  # every part of the pattern is optional
    held_out = bool(marks.group(1) or marks.group(3))
    body = _parse(source[marks.end() :], where)
    _check_choices(body, source, where)
    return Alternative(source, body, int(marks.group(2) or 1), held_out)


def _slots(nodes: Iterable[Node]) -> Iterable[Slot]:
    for node in nodes:
        if isinstance(node, Slot):
            yield node
        elif isinstance(node, Choice):
            for branch in node.branches:
                yield from _slots(branch)
        elif isinstance(node, Group):
            yield from _slots(node.body)


def _outside_groups(nodes: Iterable[Node]) -> Iterable[Slot]:
    for node in nodes:
        if isinstance(node, Slot):
            yield node
        elif isinstance(node, Choice):
            for branch in node.branches:
                yield from _outside_groups(branch)


def _attributes(nodes: Iterable[Node]) -> frozenset[str]:
    return frozenset(slot.name for slot in _outside_groups(nodes)) & ATTRIBUTES


def _said(nodes: Iterable[Node], given: frozenset[str]) -> frozenset[str]:
    """The attributes that `nodes` themselves say when `given` are to be said."""
    said: set[str] = set()
    for node in nodes:
        if isinstance(node, Slot) and node.name in ATTRIBUTES:
            said.add(node.name)
        elif isinstance(node, Choice):
            for branch in node.branches:
                said |= _said(branch, given)
        elif isinstance(node, Group) and _attributes(node.body) <= given:
            said |= _said(node.body, given)
    return frozenset(said)


def _check_choices(nodes: Iterable[Node], source: str, where: str) -> None:
    """Branches that say different attributes would make it a matter of chance what is said."""
    for node in nodes:
        if isinstance(node, Group):
            _check_choices(node.body, source, where)
        elif isinstance(node, Choice):
            if len({frozenset(s.name for s in _slots(b)) & ATTRIBUTES for b in node.branches}) > 1:
                raise GrammarError(
                    f"{where}: the branches of a choice say different attributes in {source!r}",
                    hint="Write two alternatives instead.",
                )
            for branch in node.branches:
                _check_choices(branch, source, where)


# ------------------------------------------------------------------------------------ the grammar


class Grammar:
    """Rules, ready to be expanded. `Grammar.load("lexicon.toml", "draw.toml")` reads the package's files."""

    def __init__(self, rules: Mapping[str, Iterable[str]]) -> None:
        self.rules = {
            name: tuple(_alternative(source, name) for source in lines) for name, lines in rules.items()
        }
        self._reach: dict[str, frozenset[str]] = {}
        self._plans: dict[tuple[str, frozenset[str], str], tuple[tuple[_Plan, ...], tuple[float, ...]]] = {}
        for name in self.rules:
            self._may_say(name, ())

    @classmethod
    def load(cls, *files: str) -> Grammar:
        rules: dict[str, list[str]] = {}
        for name in files:
            text = resources.files(__package__).joinpath(name).read_text(encoding="utf-8")
            _flatten(tomllib.loads(text), "", rules, name)
        return cls(rules)

    def say(
        self,
        rule: str,
        rng: random.Random,
        attributes: Mapping[str, str] | None = None,
        slots: Mapping[str, str] | None = None,
        *,
        split: Split = "train",
    ) -> str:
        """One expansion of `rule` that says `attributes` (attribute → value), with `slots` filled in, tidied.

        Raises:
            GrammarError: there is no such rule, slot or value, or no alternative says just these attributes.
        """
        return self.trace(rule, rng, attributes, slots, split=split)[0]

    def trace(
        self,
        rule: str,
        rng: random.Random,
        attributes: Mapping[str, str] | None = None,
        slots: Mapping[str, str] | None = None,
        *,
        split: Split = "train",
    ) -> tuple[str, Alternative]:
        """As `say`, with the alternative that was taken at the top."""
        values = attributes or {}
        out: list[str] = []
        taken = self._rule(rule, frozenset(values), rng, split, values, slots or {}, out, top=True)
        return tidy("".join(out)), taken

    def eligible(self, rule: str, attributes: Iterable[str], split: Split) -> tuple[Alternative, ...]:
        """The alternatives of `rule` that can say just `attributes` (names) at the top of an expansion."""
        return tuple(plan.alternative for plan in self._eligible(rule, frozenset(attributes), split, True)[0])

    # ---- eligibility

    def _may_say(self, rule: str, path: tuple[str, ...]) -> frozenset[str]:
        """Every attribute that some expansion of `rule` says."""
        if rule in self._reach:
            return self._reach[rule]
        if rule in path:
            raise GrammarError(f"rule {rule!r} contains itself", hint="Break the circle: " + " → ".join(path))
        reach: set[str] = set()
        for alternative in self.rules[rule]:
            for slot in _slots(alternative.body):
                if slot.name in ATTRIBUTES:
                    reach.add(slot.name)
                elif slot.name in self.rules:
                    reach |= self._may_say(slot.name, (*path, rule))
        self._reach[rule] = frozenset(reach)
        return self._reach[rule]

    def _plan(self, alternative: Alternative, given: frozenset[str], split: Split) -> _Plan | None:
        """How `alternative` says just `given`, or None where it cannot."""
        names = {slot.name for slot in _slots(alternative.body)}
        direct = _said(alternative.body, given)
        if not direct <= given:
            return None
        rest = given - direct
        shares: dict[str, frozenset[str]] = {}
        for name in sorted(names & self.rules.keys()):
            shares[name] = rest & self._reach[name]
            rest -= shares[name]
        if rest:
            return None
        needed = {slot.name for slot in _outside_groups(alternative.body)}
        for name, share in shares.items():
            if (share or name in needed) and not self._eligible(name, share, split, False)[0]:
                return None
        return _Plan(alternative, direct, shares)

    def _eligible(
        self, rule: str, given: frozenset[str], split: Split, top: bool
    ) -> tuple[tuple[_Plan, ...], tuple[float, ...]]:
        """The plans for `rule` and their cumulative weights."""
        kind = "train" if split == "train" else "top" if top and split == "held_out" else "any"
        key = (rule, given, kind)
        found = self._plans.get(key)
        if found is None:
            lines = self.rules[rule]
            if split == "train":
                lines = tuple(line for line in lines if not line.held_out)
            plans = tuple(p for p in (self._plan(line, given, split) for line in lines) if p is not None)
            if kind == "top" and any(p.alternative.held_out for p in plans):
                plans = tuple(p for p in plans if p.alternative.held_out)
            found = plans, tuple(accumulate(_weights(plans)))
            self._plans[key] = found
        return found

    # ---- expansion

    def _rule(
        self,
        rule: str,
        given: frozenset[str],
        rng: random.Random,
        split: Split,
        values: Mapping[str, str],
        slots: Mapping[str, str],
        out: list[str],
        *,
        top: bool = False,
    ) -> Alternative:
        if rule not in self.rules:
            raise GrammarError(f"there is no rule {rule!r}", hint="Look for a misspelt rule or value.")
        plans, weights = self._eligible(rule, given, split, top)
        if not plans:
            raise GrammarError(
                f"no alternative of {rule!r} says just {sorted(given)} in the split {split!r}",
                hint="Add an alternative, or put attributes that may be missing into <groups>.",
            )
        plan = plans[bisect(weights, rng.random() * weights[-1])]
        self._nodes(plan.alternative.body, plan, rng, split, values, slots, out)
        return plan.alternative

    def _nodes(
        self,
        nodes: Sequence_,
        plan: _Plan,
        rng: random.Random,
        split: Split,
        values: Mapping[str, str],
        slots: Mapping[str, str],
        out: list[str],
    ) -> None:
        for node in nodes:
            if isinstance(node, str):
                out.append(node)
            elif isinstance(node, Slot):
                if node.name in ATTRIBUTES:
                    form = f"{node.name}.{node.form}" if node.form else node.name
                    name = f"{form}.{values[node.name]}"
                    self._rule(name, frozenset(), rng, split, values, slots, out)
                elif node.name in slots:
                    out.append(slots[node.name])
                else:
                    share = plan.shares.get(node.name, frozenset())
                    self._rule(node.name, share, rng, split, values, slots, out)
            elif isinstance(node, Choice):
                branch = node.branches[int(rng.random() * len(node.branches))]
                self._nodes(branch, plan, rng, split, values, slots, out)
            elif _attributes(node.body) <= plan.direct and any(
                s.name in plan.direct or plan.shares.get(s.name) for s in _slots(node.body)
            ):
                self._nodes(node.body, plan, rng, split, values, slots, out)


def _weights(plans: Sequence[_Plan]) -> list[float]:
    """Held-out alternatives, where they are allowed, share 40 % of the weight."""
    new = sum(plan.alternative.weight for plan in plans if plan.alternative.held_out)
    old = sum(plan.alternative.weight for plan in plans) - new
    factor = 0.4 / 0.6 * old / new if old and new else 1.0
    return [p.alternative.weight * (factor if p.alternative.held_out else 1.0) for p in plans]


def _flatten(table: Mapping[str, Any], prefix: str, rules: dict[str, list[str]], file: str) -> None:
    for key, value in table.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            _flatten(value, f"{name}.", rules, file)
        elif isinstance(value, list) and value and all(isinstance(line, str) for line in value):
            rules.setdefault(name, []).extend(value)
        else:
            raise GrammarError(
                f"{file}: {name} is no list of alternatives", hint='Write: name = ["...", "..."].'
            )


# --------------------------------------------------------------------------------------- tidying

_SPACES = re.compile(r"  +")
_BEFORE_MARK = re.compile(r" +([,.;:!?])(?=\s|$)")
_ARTICLE = re.compile(r"\b([Aa]) (?=(?!uni|use|eu|one\b|once\b|ufo)[aeiouAEIOU])", re.IGNORECASE)
_SENTENCE = re.compile(r"(?:^|(?<=[.!?] ))[a-z]")


def tidy(text: str) -> str:
    """Single spaces, none before punctuation, and "an" before a vowel."""
    text = _SPACES.sub(" ", text.strip())
    text = _BEFORE_MARK.sub(r"\1", text)
    return _ARTICLE.sub(r"\1n ", text)


def sentence_case(text: str) -> str:
    """Capitals where sentences begin."""
    return _SENTENCE.sub(lambda match: match.group().upper(), text)
