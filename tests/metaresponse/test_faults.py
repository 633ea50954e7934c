"""The table of faults is its own test: each example is met with its message, and no other."""

from __future__ import annotations

import re

import pytest

from modaverse.context import Malformed, MetaResponse, Modality
from modaverse.errors import SettingsError
from modaverse.interfaces import CallSpec
from modaverse.metaresponse import Catalogue, StreamParser, faults
from modaverse.metaresponse.faults import Fault


def pattern(message: str) -> str:
    return re.sub(r"\\\{[^}]*\\\}", ".*", re.escape(message))


@pytest.mark.parametrize(
    ("fault", "example"), [(fault, example) for fault in faults.TABLE for example in fault.examples]
)
def test_each_example_has_its_message(fault: Fault, example: str, catalogue: Catalogue) -> None:
    parser = StreamParser(catalogue=catalogue, sources={1: Modality.IMAGE})
    events = [*parser.feed(f"<meta>{example}</meta>"), *parser.close()]
    (malformed,) = [event for event in events if isinstance(event, Malformed)]
    assert [
        other.reason for other in faults.TABLE if re.fullmatch(pattern(other.reason), malformed.reason)
    ] == [fault.reason]
    assert re.fullmatch(pattern(fault.hint), malformed.hint)
    assert not any(isinstance(event, MetaResponse) for event in events)
    assert "".join(event.raw for event in events) == f"<meta>{example}</meta>"


def test_only_what_an_example_cannot_show_has_none() -> None:
    assert {fault.reason for fault in faults.TABLE if not fault.examples} == {
        faults.UNFINISHED.reason, faults.TOO_LONG.reason, faults.TOO_MANY.reason,
    }  # fmt: skip


def test_a_fault_in_options_says_where(catalogue: Catalogue) -> None:
    call = '<meta>{"Model": "T-to-I", "Input": "a", "Options": {"steps": 0, "seed": -1}}</meta>'
    malformed = StreamParser(catalogue=catalogue).feed(call)[-1]
    assert isinstance(malformed, Malformed)
    assert "Options.steps: 0 is less than the minimum of 1" in malformed.reason
    assert "Options.seed" in malformed.reason


def test_required_options_are_required() -> None:
    schema = {"type": "object", "properties": {"size": {"type": "integer"}}, "required": ["size"]}
    catalogue = Catalogue([CallSpec("T-to-I", Modality.IMAGE, None, schema)])
    malformed = StreamParser(catalogue=catalogue).feed('<meta>{"Model": "T-to-I", "Input": "a"}</meta>')[-1]
    assert isinstance(malformed, Malformed)
    assert "'size' is a required property" in malformed.reason


def test_a_catalogue_says_what_is_wrong_with_it() -> None:
    spec = CallSpec("T-to-I", Modality.IMAGE)
    with pytest.raises(SettingsError, match="two generators answer to the name T-to-I"):
        Catalogue([spec, spec])
    broken = Catalogue([CallSpec("T-to-I", Modality.IMAGE, None, {"type": "thing"})])
    with pytest.raises(SettingsError, match="no JSON Schema"):
        broken.option_faults("T-to-I", {"a": 1})
