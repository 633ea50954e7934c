"""What the mask may write is a part of what the schema admits, and its length is known."""

from __future__ import annotations

import json
from typing import Any

import pytest

from modaverse.context import Modality
from modaverse.errors import SettingsError
from modaverse.interfaces import CallSpec
from modaverse.metaresponse import Catalogue, StreamParser, TokenMask, Vocabulary
from modaverse.metaresponse.grammar import load_dialect
from modaverse.metaresponse.schema import bound, forms


@pytest.mark.parametrize(
    ("schema", "instances"),
    [
        ({"const": "a/é"}, ["a/é"]),
        ({"enum": [1, None, "abc"], "type": ["integer", "null", "string"]}, [1, None, "abc"]),
        ({"type": "boolean", "default": True}, [False]),
        ({"type": "integer"}, [-1_000_000, 1_000_000]),
        ({"type": "integer", "minimum": 10**9}, [10**9, 10**9 + 10**6]),
        ({"type": "integer", "maximum": -5, "multipleOf": 5}, [-1_000_005]),
        ({"type": "number", "minimum": 0, "maximum": 1}, [0.123, 1]),
        ({"type": "number", "exclusiveMinimum": -20, "exclusiveMaximum": 0}, [-19.99]),
        ({"type": "number", "minimum": 0, "maximum": 0.01}, [0.0001]),
        ({"type": ["number", "null"]}, [None, -123456.78]),
        ({"type": "string", "maxLength": 3}, ["😀😀😀", '"""']),
        ({"type": "string", "minLength": 70}, ["x" * 70]),
        ({"type": "array", "items": {"type": "boolean"}, "maxItems": 2}, [[False, False]]),
        ({"anyOf": [{"type": "null"}, {"type": "string", "maxLength": 9}]}, ["x" * 9]),
        (
            {"type": "object", "properties": {"w": {"type": "integer", "minimum": 1, "maximum": 64}}},
            [{"w": 64}, {}],
        ),
    ],
)
def test_bounded_forms_hold_their_longest_instances(schema: dict[str, Any], instances: list[Any]) -> None:
    found = bound(schema)
    assert found is not None
    for instance in instances:
        assert len(json.dumps(instance, ensure_ascii=False).encode()) <= found.longest


@pytest.mark.parametrize(
    "schema",
    [
        True, {}, {"$ref": "#/x"}, {"type": "array"}, {"type": "string", "format": "date"}, {"enum": []},
        {"not": {"type": "null"}}, {"type": "number", "multipleOf": 0.1}, {"type": "boolean", "minimum": 1},
        {"anyOf": [{"type": "null"}, {}]}, {"type": "object", "patternProperties": {"a": {}}},
        {"type": "object", "properties": {"a": {}}, "required": ["a"]},
    ],
)  # fmt: skip
def test_what_has_no_bounded_form_is_not_offered(schema: Any) -> None:
    assert bound(schema) is None


OPTIONS = {
    "type": "object",
    "required": ["steps"],
    "additionalProperties": False,
    "properties": {
        "steps": {"type": "integer", "exclusiveMinimum": 0, "maximum": 9},
        "size": {"type": "array", "items": {"type": "integer", "minimum": 8, "maximum": 64}, "maxItems": 2},
        "scale": {"type": "number", "minimum": 0.5, "exclusiveMaximum": 20},
        "crop": {"type": "object", "properties": {"left": {"type": "boolean"}}, "required": ["left"]},
        "style": {"anyOf": [{"const": "bold"}, {"type": "null"}]},
        "free": {},
    },
}


@pytest.mark.parametrize("grammar", ["meta_response", "tool_call"])
def test_a_form_knows_its_length(grammar: str) -> None:
    spec = CallSpec("TI-to-I", Modality.IMAGE, Modality.IMAGE, OPTIONS, 10)
    assert forms(load_dialect(grammar), [spec], {1: Modality.AUDIO}) == []
    (form,) = forms(load_dialect(grammar), [spec], {7: Modality.IMAGE, 12: Modality.IMAGE})
    options = {"steps": 9, "size": [64, 64], "scale": 10.123, "crop": {"left": False}, "style": "bold"}
    call = {
        "meta_response": {"Model": "TI-to-I", "Input": "😀" * 10, "Options": options, "Source": 12},
        "tool_call": {"name": "TI-to-I", "arguments": {"prompt": "😀" * 10, **options, "source": 12}},
    }[grammar]
    longest = json.dumps(call, ensure_ascii=False).encode()
    assert longest.startswith(form.head + "😀".encode())
    assert len(longest) <= len(form.head) + form.input_bytes + form.tail <= len(longest) + 40


def test_the_mask_writes_such_options_and_no_others(make_tokenizer) -> None:
    vocabulary = Vocabulary.from_tokenizer(make_tokenizer("byte-level", ("<meta>", "</meta>")))
    catalogue = Catalogue([CallSpec("T-to-I", Modality.IMAGE, None, OPTIONS, 20)])
    mask = TokenMask.compile(vocabulary, catalogue)

    def accepted(options: str) -> bool:
        matcher = mask.start({}, 1000).engine
        text = f'{{"Model": "T-to-I", "Input": "a", "Options": {options}}}'
        ids = [
            vocabulary.added["<meta>"],
            *map(vocabulary.single, text.encode()),
            vocabulary.added["</meta>"],
        ]
        taken = matcher.try_consume_tokens(ids) == len(ids)
        events = StreamParser(vocabulary=vocabulary, catalogue=catalogue).feed_ids(ids)
        assert not taken or type(events[-1]).__name__ == "MetaResponse"
        return taken

    good = [
        '{"steps": 3}',
        '{"steps": 9, "size": [8, 64], "scale": 0.55, "crop": {"left": true}, "style": null}',
    ]
    bad = [
        "{}",
        '{"steps": 0}',
        '{"steps": 3, "scale": 0.4}',
        '{"steps": 3, "size": [8, 8, 8]}',
        '{"steps": 3, "scale": 1.55555555}',
        '{"steps": 3, "free": 1}',
        '{"steps": 3,"scale": 1}',
    ]
    assert [accepted(options) for options in good + bad] == [True] * len(good) + [False] * len(bad)


def test_required_options_without_a_bounded_form_are_an_error() -> None:
    spec = CallSpec(
        "T-to-I", Modality.IMAGE, None, {"type": "object", "properties": {"a": {}}, "required": ["a"]}
    )
    with pytest.raises(SettingsError, match="requires options that the token mask cannot offer: a"):
        forms(load_dialect("meta_response"), [spec], {})


def test_an_option_cannot_take_the_place_of_a_field() -> None:
    schema = {"type": "object", "properties": {"prompt": {"type": "boolean"}}}
    with pytest.raises(SettingsError, match="has an option prompt"):
        forms(load_dialect("tool_call"), [CallSpec("T-to-I", Modality.IMAGE, None, schema)], {})
