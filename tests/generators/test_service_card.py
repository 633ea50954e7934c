"""A service's card says what is wrong with it, and where a key may be sent."""

from __future__ import annotations

from pathlib import Path

import pytest
from services import card_of

from modaverse.errors import SettingsError
from modaverse.generators.opening import open_generators
from modaverse.interfaces import Place

# (message, what is written instead of what): the faults that a service's card can have.
FAULTS = [
    ("service.url: this is no address", "https://example.org/v1", "ftp://example.org/v1"),
    ("service.url: this is no address", "https://example.org/v1", "https:///v1"),
    ("service.url: a name or password", "https://example.org/v1", "https://me:secret@example.org/v1"),
    ("service.url: an address has neither", "https://example.org/v1", "https://example.org/v1#a"),
    ("service.url: an address has neither", "https://example.org/v1", "https://example.org/a b"),
    ("a key is sent over https only", "https://example.org/v1", "http://example.org/v1"),
    ("a key is sent over https only", "https://example.org/v1", "http://127.0.0.1.example.org/v1"),
    ("service.key: String should match", '"TEST_SERVICE_KEY"', '"sk-123"'),
    ("service.timeout: Input should be greater", "timeout = 10", "timeout = 0"),
    ("service.retries: Input should be less", "timeout = 10", "retries = 99"),
    ("answer: Input should be", 'answer = "json"', 'answer = "xml"'),
    ("a call stands twice: T-to-I, T-to-I", "T-to-A", "T-to-I"),
    ("kind: there is none named 'smtp'", 'kind = "http"', 'kind = "smtp"'),
    ("weights: Extra inputs", "[licence]", 'weights = "here"\n[licence]'),
]


@pytest.mark.parametrize(("message", "old", "new"), FAULTS)
def test_faults_of_a_card_are_named(message: str, old: str, new: str, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=message) as failure:
        card_of("https://example.org/v1", tmp_path, (old, new))
    assert "painter.toml" in failure.value.message
    assert "secret" not in failure.value.message
    assert failure.value.hint


@pytest.mark.parametrize(
    "url", ["http://localhost:8000/v1", "http://[::1]:8000/v1", "https://example.org/v1?a=1"]
)
def test_addresses_that_may_get_a_key(url: str, tmp_path: Path) -> None:
    assert card_of(url, tmp_path).service.url == url


def test_without_a_key_a_neighbour_may_be_asked_over_http(tmp_path: Path) -> None:
    card = card_of("http://painter.local:8000/v1", tmp_path, ('key = "TEST_SERVICE_KEY"\n', ""))
    assert card.service.host == "painter.local"


def test_options_that_are_no_schema(tmp_path: Path) -> None:
    card_of("https://example.org/v1", tmp_path, ("enum = [", 'type = "colour", enum = ['))
    with pytest.raises(SettingsError, match="the options of T-to-I are no JSON Schema"):
        open_generators(str(tmp_path / "painter.toml"), Place())
