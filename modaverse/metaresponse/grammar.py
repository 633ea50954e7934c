"""Dialects: a grammar file, the small table beside it, and what a stream parser needs of the two.

A grammar describes `start: part*`, where a part is `text` or a `call`, and a call begins with `open` and ends
with `close`. The table (`NAME.toml` beside `NAME.lark`) says where in a call the fields of a `MetaResponse`
stand. `docs/dialects.md` shows how to add one.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple

from lark import Lark
from lark.exceptions import LarkError
from lark.lexer import PatternStr, TerminalDef
from lark.parsers.lalr_interactive_parser import InteractiveParser

from modaverse.errors import GrammarError
from modaverse.metaresponse.automaton import State, Terminals
from modaverse.metaresponse.values import Values

FIELDS = ("model", "input", "options", "source")


class Place(NamedTuple):
    """Where a field stands: the text of a rule or, with keys, a place in the JSON object that it is."""

    rule: str
    keys: tuple[str, ...]


class Marker(NamedTuple):
    """What opens or closes a call: the name of the terminal, and the fixed string that it is."""

    terminal: str
    text: str


class Context(NamedTuple):
    """What may follow in one state of the LALR table.

    `scanner` reads the next terminal, None where the call has ended; `names_model` is true where the rule
    `model` has just been completed.
    """

    scanner: State | None
    names_model: bool


@dataclass(frozen=True)
class Lexicon:
    """A dialect in one reading: spelled markers, or markers that are single tokens."""

    dialect: Dialect
    text: State
    contexts: Mapping[int, Context]
    markers: Mapping[int, str]  # ids of tokens that are markers → their text
    spelling: Mapping[str, str]  # terminals → what they are called in messages

    def spell(self, terminals: Iterable[str]) -> tuple[str, ...]:
        """Terminals for a person: fixed strings as they are, others by their names, without hidden ones."""
        return tuple(self.spelling[name] for name in terminals if name in self.spelling)

    def parser(self) -> InteractiveParser:
        """A fresh LALR parser for one part."""
        return self.dialect.lark.parse_interactive(start="part")


@dataclass(frozen=True, eq=False)
class Dialect:
    """A grammar file and its table."""

    name: str
    source: str
    lark: Lark
    fields: Mapping[str, Place]
    models: Mapping[str, str]  # names as the dialect writes them → names of generators, "" for text
    opener: Marker
    closer: Marker
    open_ended: bool  # the end of an answer closes a call
    _lexicons: dict[frozenset[tuple[Marker, int]], Lexicon] = field(default_factory=dict, repr=False)

    def lexicon(self, added: Mapping[str, int]) -> Lexicon:
        """The dialect as it reads; `added` maps the tokens that may be markers to their ids."""
        markers = {
            marker: added[marker.text] for marker in (self.opener, self.closer) if marker.text in added
        }
        key = frozenset(markers.items())
        if key not in self._lexicons:
            self._lexicons[key] = self._compile(markers)
        return self._lexicons[key]

    def _compile(self, markers: Mapping[Marker, int]) -> Lexicon:
        # Of two terminals that match the same text a fixed string wins, as in lark's own lexer.
        ordered = sorted(self.lark.terminals, key=lambda term: not isinstance(term.pattern, PatternStr))
        terminals = Terminals(
            {term.name: term.pattern.to_regexp() for term in ordered},
            {marker.terminal: token for marker, token in markers.items()},
        )
        table = self.lark.parse_interactive(start="part").parser_state.parse_conf.states
        contexts = {state: _context(row, terminals) for state, row in table.items()}
        text = terminals.searcher(self._text_terminals(self.opener.terminal), [self.opener.terminal])
        if any(text[chr(code)] is None for code in (0, *terminals.cuts)):
            raise GrammarError(
                f"{self.name}.lark: the rule `text` does not take every character",
                hint="Ordinary text can be anything: let the alternatives of `text` cover all characters.",
            )
        spelling = {name: shown for term in ordered for name, shown in [_spelling(term)] if shown}
        return Lexicon(self, text, contexts, {token: mark.text for mark, token in markers.items()}, spelling)

    def _text_terminals(self, opener: str) -> list[str]:
        """The terminals that are a whole part on their own: lark is asked once, not at every character."""
        names = []
        for name in sorted(self.lark.parse_interactive(start="part").accepts() - {opener}):
            parser = self.lark.parse_interactive(start="part")
            parser.feed_token(parser.lexer_thread._Token(name, ""))
            if "$END" not in parser.choices():
                raise GrammarError(
                    f"{self.name}.lark: a part can begin with {name}, which is neither `text` nor `open`",
                    hint="Let every call begin with the rule `open`.",
                )
            names.append(name)
        return names


def _context(row: Mapping[str, tuple[Any, Any]], terminals: Terminals) -> Context:
    reduced = {arg.origin.name for action, arg in row.values() if action.name == "Reduce"}
    names = [name for name in row if name in terminals.names]
    return Context(terminals.scanner(names) if names else None, reduced == {"model"})


@cache
def load_dialect(grammar: str | Path) -> Dialect:
    """The dialect of a `.lark` file, or of the name of one that is shipped.

    Raises:
        GrammarError: there is no such file, or it or its table does not hold together.
    """
    path = _find(grammar)
    try:
        source = path.read_text(encoding="utf-8")
        table = tomllib.loads(path.with_suffix(".toml").read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise GrammarError(
            f"the grammar {grammar} lacks the file {error.filename}",
            hint="A dialect is NAME.lark and NAME.toml in one folder.",
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise GrammarError(f"{path.with_suffix('.toml').name}: {error}", hint="Correct the table.") from error
    models = table.pop("models", {})
    open_ended = table.pop("ended_by", "") == "close"
    fields = _read_places(table, path)
    try:
        lark = Lark(
            source, parser="lalr", start=["part"], transformer=Values(fields), maybe_placeholders=False
        )
    except LarkError as error:
        raise GrammarError(f"{path.name}: {error}", hint="Correct the grammar.") from error
    rules = {str(rule.origin.name) for rule in lark.rules}
    absent = [place.rule for place in fields.values() if place.rule not in rules]
    if absent:
        raise GrammarError(
            f"{path.stem}.toml: there is no rule `{absent[0]}` in {path.name}",
            hint="Name a rule that calls are made of, and no terminal.",
        )
    opener, closer = (_marker(lark, rule, path.name) for rule in ("open", "close"))
    return Dialect(path.stem, source, lark, fields, models, opener, closer, open_ended)


def _marker(lark: Lark, rule: str, name: str) -> Marker:
    expansions = [entry.expansion for entry in lark.rules if entry.origin.name == rule]
    if len(expansions) == 1 and len(expansions[0]) == 1 and expansions[0][0].is_term:
        terminal = str(expansions[0][0].name)
        pattern = lark.get_terminal(terminal).pattern
        if isinstance(pattern, PatternStr):
            return Marker(terminal, str(pattern.value))
    raise GrammarError(
        f"{name}: the rule `{rule}` is not one fixed string",
        hint=f'Write it as `{rule}: "…"`, so that the stream knows what to look for.',
    )


def _spelling(term: TerminalDef) -> tuple[str, str]:
    if isinstance(term.pattern, PatternStr):
        return term.name, str(term.pattern.value)
    return term.name, "" if term.name.startswith("_") else term.name.lower()


def _find(grammar: str | Path) -> Path:
    if isinstance(grammar, Path) or grammar.endswith(".lark"):
        return Path(grammar)
    folder = Path(str(resources.files("modaverse.grammars")))
    path = folder / f"{grammar}.lark"
    if not path.is_file():
        known = ", ".join(sorted(file.stem for file in folder.glob("*.lark")))
        raise GrammarError(f"there is no grammar {grammar!r}", hint=f"Known are {known}; or give a path.")
    return path


def _read_places(table: dict[str, Any], path: Path) -> dict[str, Place]:
    wrong = [key for key, value in table.items() if key not in FIELDS or not isinstance(value, str)]
    missing = [key for key in ("model", "input") if key not in table]
    if wrong or missing:
        raise GrammarError(
            f"{path.stem}.toml: {', '.join(wrong + missing)} is "
            f"{'no field, or not in quotes' if wrong else 'missing'}",
            hint='It maps model, input, options and source to places such as "object.Model".',
        )
    split = {key: value.split(".") for key, value in table.items()}
    return {key: Place(rule, tuple(keys)) for key, (rule, *keys) in split.items()}
