"""The JSON Schema of what may be called, in a form whose longest instance is known.

The token mask lets a call open only if its longest form still fits, so nothing in it may be endless: numbers
get bounds and a last decimal place, strings and lists a length, and objects have only the keys that their
schema names. What the mask admits is therefore always admitted by the schema that it came from, against which
the parser checks; an option that has no bounded form is one that the mask does not offer.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from modaverse.context import Modality
from modaverse.errors import SettingsError
from modaverse.interfaces import CallSpec
from modaverse.metaresponse.grammar import Dialect

# JSON as json.dumps writes it, which is what the models learn; \u escapes would add nothing but length.
FORMAT = {
    "whitespace_flexible": False,
    "item_separator": ", ",
    "key_separator": ": ",
    "json_allowed_escapes": 'nrbtf\\"',
}

_MOST_CHARS = 64  # of a string that sets no bound
_MOST_ITEMS = 8  # of a list that sets no bound
_MOST = 10**6  # of a number that sets no bound
_CHAR_BYTES = 4  # of a character in UTF-8; escapes have two
_NOTES = {"title", "description", "default", "examples", "deprecated", "$schema", "$id", "$comment"}
_RANGE = {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"}
_KEYWORDS = {
    "integer": _RANGE,
    "number": _RANGE,
    "string": {"minLength", "maxLength", "pattern"},
    "array": {"items", "minItems", "maxItems"},
    "object": {"properties", "required", "additionalProperties"},
    "boolean": set(),
    "null": set(),
}


class Bounded(NamedTuple):
    """A schema, and the length of its longest instance in bytes."""

    schema: dict[str, Any]
    longest: int


@dataclass(frozen=True, slots=True)
class Form:
    """The shape of one entry's calls.

    `head` is their text up to the input, its opening quote included; `input_bytes` is the longest input;
    `tail` counts the bytes that follow it at most, its closing quote included.
    """

    schema: dict[str, Any]
    head: bytes
    input_bytes: int
    tail: int


def forms(dialect: Dialect, specs: Iterable[CallSpec], sources: Mapping[int, Modality]) -> list[Form]:
    """The forms of the calls that are possible with the media `sources` (number → modality).

    Raises:
        SettingsError: a generator requires options that have no bounded form.
    """
    found = []
    for spec in specs:
        numbers = sorted(number for number, modality in sources.items() if modality == spec.source)
        if spec.source is None or numbers:
            found.append(_form(dialect, spec, numbers))
    return found


# A call is laid out as a tree of keys; a leaf is a bounded schema and whether the key must be there.
_Leaf = tuple[Bounded, bool]
_Tree = dict[str, Any]


def _form(dialect: Dialect, spec: CallSpec, numbers: list[int]) -> Form:
    input_bytes = _CHAR_BYTES * spec.max_input_chars
    prompt = {"type": "string", "minLength": 1, "maxLength": spec.max_input_chars}
    leaves: dict[str, _Leaf] = {
        "model": (_of_values([spec.model]), True),
        "input": (Bounded(prompt, input_bytes + 2), True),
    }
    if numbers:
        leaves["source"] = (_of_values(numbers), True)
    tree: _Tree = {}
    for name, place in dialect.fields.items():
        if name == "options":
            for key, leaf in _options(spec).items():
                _put(tree, (*place.keys, key), leaf, spec)
        elif name in leaves:
            _put(tree, place.keys, leaves[name], spec)
    (schema, longest), _ = _whole(tree)
    head = _head(tree, leaves["input"][0]).encode()
    return Form(schema, head, input_bytes, longest - len(head) - input_bytes)


def _options(spec: CallSpec) -> dict[str, _Leaf]:
    """The options that can be offered, by key."""
    schema = spec.options_schema
    required = set(schema.get("required", ()))
    plain = not schema.keys() - _NOTES - _KEYWORDS["object"] - {"type"}
    bounded = {key: bound(value) for key, value in schema.get("properties", {}).items()} if plain else {}
    offered = {key: (found, key in required) for key, found in bounded.items() if found is not None}
    if required - offered.keys():
        raise SettingsError(
            f"{spec.model} requires options that the token mask cannot offer: "
            f"{', '.join(sorted(required - offered.keys()))}",
            hint="Describe them by type, bounds, enum or anyOf in its card, or make them optional.",
        )
    return offered


def _put(tree: _Tree, keys: tuple[str, ...], leaf: _Leaf, spec: CallSpec) -> None:
    *path, last = keys
    for key in path:
        tree = tree.setdefault(key, {})
    if last in tree:
        raise SettingsError(
            f"{spec.model} has an option {last}, which stands for something else in a call",
            hint="Give the option another name in the generator's card.",
        )
    tree[last] = leaf


def _whole(node: _Tree | _Leaf) -> _Leaf:
    """The schema of a tree; it is required if something in it is."""
    if not isinstance(node, dict):
        return node
    members = {key: _whole(child) for key, child in node.items()}
    required = [key for key, (_, needed) in members.items() if needed]
    return _of_members({key: found for key, (found, _) in members.items()}, required), bool(required)


def _head(node: _Tree, prompt: Bounded) -> str:
    """The text before the input: all that stands there is fixed."""
    text = "{"
    for key, child in node.items():
        text += f"{_json(key)}: "
        if isinstance(child, dict):
            return text + _head(child, prompt)
        if child[0] is prompt:
            return text + '"'
        text += _json(child[0].schema["enum"][0]) + ", "
    raise SettingsError("a dialect has no place for the input", hint="Correct its table.")


# ------------------------------------------------------------------------------- bounded schemas


def bound(schema: Any) -> Bounded | None:
    """`schema` narrowed to instances of known length, or None where that is not possible."""
    if not isinstance(schema, Mapping):
        return None
    schema = {key: value for key, value in schema.items() if key not in _NOTES}
    if "const" in schema or "enum" in schema:
        values = [schema["const"]] if "const" in schema else list(schema["enum"])
        return _of_values(values) if values and not schema.keys() - {"const", "enum", "type"} else None
    if schema.keys() == {"anyOf"}:
        return _of_choices([bound(choice) for choice in schema["anyOf"]])
    kinds = schema.pop("type", None)
    kinds = [kinds] if isinstance(kinds, str) else kinds or []
    if schema.keys() - set().union(*(_KEYWORDS.get(kind, set()) for kind in kinds)):
        return None
    return _of_choices([_of_kind(kind, schema) for kind in kinds])


def _of_kind(kind: str, schema: Mapping[str, Any]) -> Bounded | None:
    match kind:
        case "boolean" | "null":
            return Bounded({"type": kind}, len("false"))
        case "integer":
            return _of_range(schema, decimals=0)
        case "number":
            low, high = _limits(schema)
            return _of_range(schema, decimals=max(2, 2 - math.floor(math.log10(max(high - low, 1e-9)))))
        case "string":
            kept = {key: schema[key] for key in _KEYWORDS["string"] if key in schema}
            most = schema.get("maxLength", max(_MOST_CHARS, schema.get("minLength", 0)))
            return Bounded({"type": kind, **kept, "maxLength": most}, _CHAR_BYTES * most + 2)
        case "array":
            items = bound(schema.get("items"))
            most = schema.get("maxItems", max(_MOST_ITEMS, schema.get("minItems", 0)))
            kept = {"minItems": schema.get("minItems", 0), "maxItems": most}
            return items and Bounded({"type": kind, "items": items.schema, **kept}, 2 + most * (items[1] + 2))
        case "object":
            return _of_object(schema)
    return None


def _limits(schema: Mapping[str, Any]) -> tuple[float, float]:
    low = max(schema.get("minimum", -math.inf), schema.get("exclusiveMinimum", -math.inf))
    high = min(schema.get("maximum", math.inf), schema.get("exclusiveMaximum", math.inf))
    if low == -math.inf:
        low = min(-_MOST, high - _MOST) if high < math.inf else -_MOST
    if high == math.inf:
        high = max(_MOST, low + _MOST)
    return low, high


def _of_range(schema: Mapping[str, Any], decimals: int) -> Bounded | None:
    step = schema.get("multipleOf", 1)
    if step != int(step):
        return None  # in floating point 0.3 is no multiple of 0.1
    low, high = _limits(schema)
    kept: dict[str, Any] = {key: schema[key] for key in _RANGE if key in schema}
    if "exclusiveMinimum" not in kept:
        kept["minimum"] = low
    if "exclusiveMaximum" not in kept:
        kept["maximum"] = high
    digits = max(len(str(math.floor(low))), len(str(math.ceil(high))))
    if decimals and "multipleOf" not in kept:
        kept["multipleOf"] = float(f"1e-{decimals}")
    kind = "number" if decimals else "integer"
    return Bounded({"type": kind, **kept}, digits + 2 + decimals)


def _of_object(schema: Mapping[str, Any]) -> Bounded | None:
    members = {key: found for key, value in schema.get("properties", {}).items() if (found := bound(value))}
    required = list(schema.get("required", ()))
    return _of_members(members, required) if members.keys() >= set(required) else None


def _of_members(members: Mapping[str, Bounded], required: list[str]) -> Bounded:
    schema = {
        "type": "object",
        "properties": {key: found.schema for key, found in members.items()},
        "required": required,
        "additionalProperties": False,
    }
    longest = 2 + sum(len(_json(key).encode()) + found.longest + 4 for key, found in members.items())
    return Bounded(schema, longest)


def _of_values(values: list[Any]) -> Bounded:
    return Bounded({"enum": values}, max(len(_json(value).encode()) for value in values))


def _of_choices(choices: list[Bounded | None]) -> Bounded | None:
    found = [choice for choice in choices if choice is not None]
    if len(found) < len(choices) or not found:
        return None
    if len(found) == 1:
        return found[0]
    return Bounded({"anyOf": [choice.schema for choice in found]}, max(choice.longest for choice in found))


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
