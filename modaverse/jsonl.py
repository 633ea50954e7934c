"""JSON that other people wrote, one object a line: read strictly, and complained about with file and line."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from modaverse.errors import DataError


def loads(text: str | bytes, where: str) -> object:
    """The value that `text` spells; `where` begins every message ("data.jsonl:7").

    Raises:
        DataError: it is no JSON, an object has the same key twice, or text in it is no Unicode.
    """
    try:
        # Some editors begin a file with a byte order mark.
        spelled = text.decode("utf-8-sig") if isinstance(text, bytes) else text
        value: object = json.loads(spelled, object_pairs_hook=_no_duplicates, parse_constant=_no_constant)
    except UnicodeDecodeError:
        raise DataError(f"{where}: no UTF-8 text", hint="Rows are JSON in UTF-8, one on each line.") from None
    except _Duplicate as error:
        raise DataError(f"{where}: the key {error.args[0]!r} stands twice", hint="Keep one.") from None
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where}: no JSON: {error}", hint="Each line holds one JSON object.") from None
    if "\\ud" in spelled.lower() and not _encodable(value):
        raise DataError(
            f"{where}: half of a surrogate pair", hint="Write characters as UTF-8, or both halves of a pair."
        )
    return value


def _encodable(value: object) -> bool:
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return True


def _no_constant(name: str) -> object:
    raise ValueError(f"{name} is no number of JSON")


def checked_object(
    value: object, needed: Collection[str], optional: Collection[str], where: str, *, hint: str
) -> dict[str, Any]:
    """`value` as an object that has the `needed` keys and no others but the `optional` ones.

    Raises:
        DataError: it is none, a key is missing, or one is unknown.
    """
    if not isinstance(value, dict):
        raise DataError(f"{where} is {kind_of(value)}, not an object", hint=hint)
    missing = set(needed) - value.keys()
    unknown = value.keys() - set(needed) - set(optional)
    if missing:
        raise DataError(f"{where} lacks {_names(missing)}", hint=hint)
    if unknown:
        known = _names({*needed, *optional})
        raise DataError(f"{where} has unknown {_names(unknown)}", hint=f"Known are {known}.")
    return value


def text_of(keys: Mapping[str, object], name: str, where: str) -> str:
    """The text under a key.

    Raises:
        DataError: it is no text, or empty.
    """
    value = keys[name]
    if not isinstance(value, str) or not value:
        raise wrong(where, name, "text that is not empty", value)
    return value


def wrong(where: str, name: str, wanted: str, got: object) -> DataError:
    """The complaint that `name` is `got` and not what is `wanted`."""
    shown = json.dumps(got, ensure_ascii=False, default=str)
    return DataError(f"{where}: {name} is {shown[:60]}", hint=f"It must be {wanted}.")


def kind_of(value: object) -> str:
    """What a decoded JSON value is, in words."""
    names = {str: "text", list: "a list", bool: "true or false", type(None): "null", dict: "an object"}
    return names.get(type(value), "a number")


class _Duplicate(ValueError):
    pass


def _no_duplicates(pairs: list[tuple[str, object]]) -> dict[str, object]:
    value: dict[str, object] = {}
    for key, item in pairs:
        if key in value:
            raise _Duplicate(key)
        value[key] = item
    return value


def _names(keys: Iterable[str]) -> str:
    return ", ".join(repr(key) for key in sorted(keys))
