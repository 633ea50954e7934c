"""What the terminals and rules of a call are worth, as the LALR parser completes them.

A grammar whose calls carry JSON names its parts as JSON does: the terminals STRING, NUMBER, TRUE, FALSE and
NULL, the rules `map` (of `pair`), `list`, and `member` for the members of the outermost object. Every other
rule that a dialect's table refers to is worth its text, without the white space around it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from lark import Transformer

_MOST_EXACT = 1 << 53  # beyond it doubles leave out integers


class Terminal:
    """A terminal of the grammar and its text, in place of a `lark.Token`, which would copy the text."""

    __slots__ = ("type", "value")

    def __init__(self, name: str, text: str) -> None:
        self.type, self.value = name, text  # as lark calls them


class JsonObject(dict[str, Any]):
    """An object of JSON that remembers the key that it had twice."""

    __slots__ = ("repeated",)

    def __init__(self, pairs: list[tuple[str, Any]]) -> None:
        super().__init__(pairs)
        self.repeated: str | None = None
        if len(self) < len(pairs):
            seen: set[str] = set()
            self.repeated = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]


class Unusable(str):
    """A number that no generator can use: the text of one that is beyond a double."""

    __slots__ = ()


class Values(Transformer[Terminal, Any]):  # type: ignore[misc]
    """lark's callbacks; `fields` is the table of the dialect (field → place)."""

    def __init__(self, fields: Mapping[str, Any]) -> None:
        super().__init__()
        for rule, keys in {(place.rule, bool(place.keys)) for place in fields.values()}:
            setattr(self, rule, _object_of(rule) if keys else _text_of(rule))

    def part(self, children: list[Any]) -> Any:
        return children[0]

    def call(self, children: list[Any]) -> dict[str, list[Any]]:
        """Rule → its values, in order, of the rules that the table names."""
        values: dict[str, list[Any]] = {}
        for child in children:
            if isinstance(child, tuple):
                values.setdefault(child[0], []).append(child[1])
        return values

    def member(self, children: list[Any]) -> tuple[str, Any]:
        key, value = children
        return (string(key.value) if isinstance(key, Terminal) else key), value

    pair = member

    def map(self, children: list[tuple[str, Any]]) -> JsonObject:
        return JsonObject(children)

    def list(self, children: list[Any]) -> list[Any]:
        return children

    def STRING(self, token: Terminal) -> str:  # noqa: N802 - lark calls terminals by their names
        return string(token.value)

    def NUMBER(self, token: Terminal) -> int | float | Unusable:  # noqa: N802
        return number(token.value)

    def TRUE(self, token: Terminal) -> bool:  # noqa: N802
        return True

    def FALSE(self, token: Terminal) -> bool:  # noqa: N802
        return False

    def NULL(self, token: Terminal) -> None:  # noqa: N802
        return None


def _object_of(rule: str) -> Any:
    return lambda children: (rule, JsonObject(children))


def _text_of(rule: str) -> Any:
    return lambda children: (rule, _whole("".join(child.value for child in children)).strip())


def string(token: str) -> str:
    """The text of a JSON string."""
    return _whole(token[1:-1] if "\\" not in token else str(json.loads(token)))


def _whole(text: str) -> str:
    """`text`, in which half a surrogate pair, which no file could hold, becomes U+FFFD."""
    return text if text.isascii() else text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def number(token: str) -> int | float | Unusable:
    """The number; `Unusable` where it has more digits than any use, or is beyond a double.

    20.0 and 2e1 are integers to JSON Schema, and so they are here: what counts to 20 takes no float.
    """
    if len(token) > 400:
        return Unusable(token)
    value = float(token)
    if abs(value) == float("inf"):
        return Unusable(token)
    try:
        return int(token)
    except ValueError:
        return int(value) if value.is_integer() and abs(value) <= _MOST_EXACT else value
