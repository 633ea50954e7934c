"""Terminals of a grammar as one deterministic automaton per context, built while it is used.

lark gives each terminal as a pattern. `Terminals` turns the patterns into one nondeterministic automaton
(Thompson's construction); a `State` is a set of its nodes and grows its transitions when a character first
asks for them, so that reading a character is one dictionary look-up and nothing is ever read twice.

Two kinds of start state exist. `scanner` recognises the next terminal of a call. `searcher` runs over
ordinary text and finds the markers that open a call, wherever they begin; its states know how many of the
last characters could still become a marker, and these alone are held back.
"""

from __future__ import annotations

import re

# The parser of Python's own `re`, with which lark measures its terminals too: no second reading of regular
# expressions that could differ from the first.
import re._constants as op  # type: ignore[import-not-found]
import re._parser as sre  # type: ignore[import-not-found]
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import pairwise
from typing import Any

from modaverse.errors import GrammarError

Ranges = tuple[tuple[int, int], ...]
"""Characters as code points: sorted, disjoint, both ends included."""

Symbol = str | int
"""What is read: a character, or the id of a token that is a marker."""

_LAST = 0x10FFFF
_MOST_REPEATS = 256
_MOST_CACHED = 4096


def _normal(ranges: Iterable[tuple[int, int]]) -> Ranges:
    merged: list[tuple[int, int]] = []
    for low, high in sorted(ranges):
        if merged and low <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(high, merged[-1][1]))
        else:
            merged.append((low, high))
    return tuple(merged)


def _complement(ranges: Ranges) -> Ranges:
    edges = [-1, *(edge for low, high in ranges for edge in (low - 1, high)), _LAST]
    return tuple((low + 1, high) for low, high in zip(edges[::2], edges[1::2], strict=True) if low < high)


class Terminals:
    """The terminals of one grammar in one reading.

    `patterns` maps names to regular expressions, in the order in which they win when two match the same
    text; `markers` maps the names of terminals that are single tokens to these tokens' ids.

    Raises:
        GrammarError: a pattern uses what a finite automaton cannot do.
    """

    def __init__(self, patterns: Mapping[str, str], markers: Mapping[str, int]) -> None:
        self.names = tuple(patterns)
        self.edges: list[list[tuple[Ranges | int, int]]] = []
        self.jumps: list[list[int]] = []
        self.owner: list[int] = []
        self._starts: dict[str, int] = {}
        self.finals: dict[int, int] = {}  # node → the index of the terminal that ends there
        for index, (name, pattern) in enumerate(patterns.items()):
            start = self._node()
            if name in markers:
                end = self._edge(start, markers[name])
            else:
                end = self._build_pattern(name, pattern, start)
            self._starts[name], self.finals[end] = start, index
            self.owner += [index] * (len(self.edges) - len(self.owner))
        cuts = {cut for edges in self.edges for label, _ in edges if isinstance(label, tuple)
                for low, high in label for cut in (low, high + 1) if cut <= _LAST}  # fmt: skip
        self.cuts = sorted(cuts)  # between two cuts all characters are alike
        self._scanners: dict[frozenset[str], State] = {}

    def scanner(self, names: Iterable[str]) -> State:
        """The state before a terminal, which is one of `names`."""
        key = frozenset(names)
        if key not in self._scanners:
            self._scanners[key] = _Builder(self, key, frozenset()).start
        return self._scanners[key]

    def searcher(self, text: Iterable[str], openers: Iterable[str]) -> State:
        """The state in ordinary text: terminals of `text` over and over, until one of `openers` is found."""
        return _Builder(self, frozenset(text), frozenset(openers)).start

    def closure(self, node: int) -> Iterator[int]:
        """`node` and the nodes that are reached from it without reading."""
        stack, seen = [node], {node}
        while stack:
            node = stack.pop()
            yield node
            fresh = [jump for jump in self.jumps[node] if jump not in seen]
            seen.update(fresh)
            stack += fresh

    def start_of(self, name: str) -> int:
        return self._starts[name]

    # ------------------------------------------------------------------------------ construction

    def _node(self) -> int:
        self.edges.append([])
        self.jumps.append([])
        return len(self.edges) - 1

    def _edge(self, start: int, label: Ranges | int) -> int:
        end = self._node()
        self.edges[start].append((label, end))
        return end

    def _build_pattern(self, name: str, pattern: str, start: int) -> int:
        try:
            return self._build(sre.parse(pattern), start)
        except (re.error, NotImplementedError) as error:
            raise GrammarError(
                f"terminal {name} ({pattern}) cannot be read as a stream: {error}",
                hint="Use characters, classes such as [0-9], groups, alternatives and repeats only.",
            ) from error

    def _build(self, items: Any, start: int) -> int:
        for code, value in items:
            start = self._build_item(code, value, start)
        return start

    def _build_item(self, code: Any, value: Any, start: int) -> int:
        if code is op.LITERAL:
            return self._edge(start, ((value, value),))
        if code is op.NOT_LITERAL:
            return self._edge(start, _complement(((value, value),)))
        if code is op.ANY:
            return self._edge(start, _complement(((10, 10),)))
        if code is op.IN:
            return self._edge(start, _ranges(value))
        if code is op.SUBPATTERN:
            _, add_flags, _, inner = value
            if add_flags:
                raise NotImplementedError("flags")
            return self._build(inner, start)
        if code is op.BRANCH:
            end = self._node()
            for branch in value[1]:
                self.jumps[self._build(branch, start)].append(end)
            return end
        if code is op.MAX_REPEAT:
            least, most, inner = value
            return self._build_repeat(least, most, inner, start)
        raise NotImplementedError(str(code).lower())

    def _build_repeat(self, least: int, most: int, inner: Any, start: int) -> int:
        if least > _MOST_REPEATS or _MOST_REPEATS < most < op.MAXREPEAT:
            raise NotImplementedError(f"more than {_MOST_REPEATS} repeats")
        for _ in range(least):
            start = self._build(inner, start)
        end = self._node()
        if most is op.MAXREPEAT:
            loop = self._node()
            self.jumps[start].append(loop)
            self.jumps[self._build(inner, loop)].append(loop)
            self.jumps[loop].append(end)
            return end
        self.jumps[start].append(end)
        for _ in range(most - least):
            start = self._build(inner, start)
            self.jumps[start].append(end)
        return end


def _ranges(items: Any) -> Ranges:
    """The characters of a class such as `[^"\\\\]`."""
    negated, ranges = False, []
    for code, value in items:
        if code is op.NEGATE:
            negated = True
        elif code is op.LITERAL:
            ranges.append((value, value))
        elif code is op.RANGE:
            ranges.append(value)
        else:
            raise NotImplementedError(f"{value}, which lark and llguidance read differently".lower())
    return _complement(_normal(ranges)) if negated else _normal(ranges)


class State(dict[Symbol, "State | None"]):
    """Where the reading of terminals stands; `state[symbol]` is the next one, or None where none exists."""

    __slots__ = ("_builder", "_by_class", "_threads", "alive", "complete", "final", "hold", "skip")

    def __init__(self, builder: _Builder, threads: frozenset[tuple[int, int]]) -> None:
        terminals = builder.terminals
        self._builder, self._threads = builder, threads
        self._by_class: dict[int, State | None] = {}
        ended = min(((index, age) for node, age in threads
                     if (index := terminals.finals.get(node)) in builder.wanted), default=None)  # fmt: skip
        # The terminal that ends here, and whether nothing can make it longer.
        self.final = None if ended is None else terminals.names[ended[0]]
        self.complete = self.final is not None and not any(terminals.edges[node] for node, _ in threads)
        # How many of the last characters belong to a marker that has begun (and, with `final`, ended).
        self.hold = ended[1] if ended and builder.openers else max((age for _, age in threads), default=0)
        self.alive = tuple(sorted({terminals.names[terminals.owner[node]] for node, _ in threads}))
        # Matches the longest run of characters that leads from this state to itself; set with the first one.
        self.skip: Callable[..., re.Match[str]] | None = None

    def __missing__(self, symbol: Symbol) -> State | None:
        if isinstance(symbol, str):
            successor = self._of_class(bisect_right(self._builder.terminals.cuts, ord(symbol)))
            if successor is self and self.skip is None:
                self.skip = self._compile_skip()
        else:
            successor = self._builder.step(self._threads, symbol)
        if len(self) < _MOST_CACHED:
            self[symbol] = successor
        return successor

    def _of_class(self, index: int) -> State | None:
        if index not in self._by_class:
            code = self._builder.terminals.cuts[index - 1] if index else 0
            self._by_class[index] = self._builder.step(self._threads, code, character=True)
        return self._by_class[index]

    def _compile_skip(self) -> Any:
        edges = [0, *self._builder.terminals.cuts, _LAST + 1]
        runs = [(low, high - 1) for index, (low, high) in enumerate(pairwise(edges))
                if low < high and self._of_class(index) is self]  # fmt: skip
        chars = "".join(f"{re.escape(chr(low))}-{re.escape(chr(high))}" for low, high in _normal(runs))
        return re.compile(f"[{chars}]*").match


class _Builder:
    """Makes the states of one start state, each set of threads once.

    A thread is (node, age): in ordinary text the age of a marker is the number of its characters so far.
    """

    def __init__(self, terminals: Terminals, names: frozenset[str], openers: frozenset[str]) -> None:
        self.terminals = terminals
        self.openers = {terminals.names.index(name) for name in openers}
        self.wanted = self.openers or {terminals.names.index(name) for name in names}
        self._loops = {terminals.names.index(name) for name in names} if self.openers else set()
        self._states: dict[frozenset[tuple[int, int]], State] = {}
        begin = {node for name in names | openers for node in terminals.closure(terminals.start_of(name))}
        self._begin = {(node, 0) for node in begin}
        self.start = self._state(self._begin)

    def step(
        self, threads: frozenset[tuple[int, int]], symbol: int, *, character: bool = False
    ) -> State | None:
        """The state after `symbol`: a code point if it is a `character`, else a token's id."""
        terminals, reached = self.terminals, set()
        for node, age in threads:
            older = age + 1 if terminals.owner[node] in self.openers else 0
            for label, end in terminals.edges[node]:
                if isinstance(label, int):
                    met = not character and label == symbol
                else:
                    met = character and any(low <= symbol <= high for low, high in label)
                if met:
                    reached |= {(follower, older) for follower in terminals.closure(end)}
        if any(terminals.finals.get(node) in self._loops for node, _ in reached):
            reached |= self._begin
        elif self._loops and character:
            return None  # each character of text ends one of its terminals
        return self._state(reached) if reached else None

    def _state(self, threads: set[tuple[int, int]]) -> State:
        key = frozenset(threads)
        if key not in self._states:
            self._states[key] = State(self, key)
        return self._states[key]
