"""Cards hold together, and say what is wrong where they do not."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest

from modaverse.context import Modality
from modaverse.errors import SettingsError
from modaverse.generators.card import (
    Call,
    Card,
    Licence,
    Option,
    Table,
    Weights,
    card_names,
    load_card,
    parse_card,
)
from modaverse.generators.opening import read_card
from modaverse.generators.service_card import Service, ServiceCall, ServiceCard, ServiceOption

GUIDE = Path(__file__).parents[2] / "docs" / "generators.md"

CARD = """
summary = "Pictures"
precision = "float32"
memory_gb = { float32 = 1.0 }
[licence]
name = "Apache-2.0"
commercial = true
[weights]
repository = "owner/name"
revision = "main"
size_gb = 2.0
[[calls]]
model = "T-to-I"
makes = "image"
pipeline = "ZImagePipeline"
output = "images"
[calls.arguments]
width = 64
[calls.options.steps]
argument = "num_inference_steps"
schema = { type = "integer", minimum = 1, maximum = 50 }
"""

# (message, what is written instead of what): the faults that a card can have.
FAULTS = [
    ("is no TOML", "summary =", "summary"),
    ("summary: Field required", 'summary = "Pictures"', ""),
    ("colour: Extra inputs", "commercial = true", 'commercial = true\ncolour = "red"'),
    ("memory_gb has no entry", 'precision = "float32"', 'precision = "bfloat16"'),
    ("precision: Input should be", 'precision = "float32"', 'precision = "int3"'),
    ("not owner/name", '"owner/name"', '"https://somewhere/name"'),
    ("either a path or a repository", 'repository = "owner/name"', ""),
    ("either a path or a repository", "size_gb = 2.0", 'size_gb = 2.0\npath = "image"'),
    ("leads out of", 'repository = "owner/name"', 'path = "../../etc"'),
    ("leads out of", 'repository = "owner/name"', 'path = "/etc"'),
    ("size_gb: Input should be greater than 0", "size_gb = 2.0", "size_gb = 0"),
    ("makes video, so fps", 'makes = "image"', 'makes = "video"'),
    ("makes audio, so sample_rate", 'makes = "image"', 'makes = "audio"'),
    ("source and prepare belong together", 'makes = "image"', 'makes = "image"\nsource = "image"'),
    ("makes: Input should be", 'makes = "image"', 'makes = "smell"'),
]


@pytest.mark.parametrize(("message", "old", "new"), FAULTS)
def test_faults_are_named(message: str, old: str, new: str) -> None:
    assert old in CARD
    with pytest.raises(SettingsError, match=message) as failure:
        parse_card(CARD.replace(old, new), origin="x.toml", name="x")
    assert "x.toml" in failure.value.message
    assert failure.value.hint


def test_a_call_cannot_stand_twice() -> None:
    with pytest.raises(SettingsError, match="a call stands twice: T-to-I, T-to-I"):
        parse_card(CARD + CARD[CARD.index("[[calls]]") :], origin="x.toml", name="x")


def test_the_catalogue_s_entry_comes_from_the_card() -> None:
    spec = parse_card(CARD, origin="x.toml", name="x").call("T-to-I").spec()
    assert spec.makes is Modality.IMAGE
    assert spec.source is None
    jsonschema.validate({"steps": 4}, dict(spec.options_schema))
    for wrong in ({"steps": 0}, {"steps": "4"}, {"colour": "red"}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(wrong, dict(spec.options_schema))


def test_only_a_commit_pins() -> None:
    pinned = CARD.replace('"main"', f'"{"0123456789abcdef" * 2}01234567"')
    assert not parse_card(CARD, origin="x.toml", name="x").weights.pinned
    assert parse_card(pinned, origin="x.toml", name="x").weights.pinned


@pytest.mark.parametrize("name", card_names())
def test_every_card_is_pinned_and_says_what_it_costs(name: str) -> None:
    card = load_card(name)
    assert card.weights.pinned
    assert card.licence.url or card.weights.path
    assert all(size > 0 for size in card.memory_gb.values())


def test_an_unknown_card_names_those_there_are(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="no generator card is named 'nothing'") as failure:
        load_card("nothing")
    assert "mini-image" in failure.value.hint
    with pytest.raises(SettingsError, match=r"mine\.toml: no such card"):
        load_card(tmp_path / "mine.toml")


def test_a_card_may_lie_anywhere(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text(CARD, encoding="utf-8")
    assert load_card(tmp_path / "mine.toml").name == "mine"


def test_a_call_that_the_card_does_not_answer() -> None:
    with pytest.raises(SettingsError, match="generator x does not answer T-to-A") as failure:
        parse_card(CARD, origin="x.toml", name="x").call("T-to-A")
    assert "T-to-I" in failure.value.hint


@pytest.mark.parametrize("name", card_names())
def test_every_card_s_option_schemas_are_schemas(name: str) -> None:
    for call in load_card(name).calls:
        jsonschema.Draft202012Validator.check_schema(dict(call.spec().options_schema))


@pytest.mark.parametrize("name", card_names())
def test_every_default_is_what_its_option_admits(name: str) -> None:
    """Where an option sets an argument directly, the card's own value must be one that it could be given."""
    for call in load_card(name).calls:
        for option in call.options.values():
            if option.convert == "same" and option.argument in call.arguments:
                jsonschema.validate(call.arguments[option.argument], option.json_schema)


TABLES: dict[str, type[Table]] = {
    "": Card,
    "licence.": Licence,
    "weights.": Weights,
    "calls.": Call,
    "calls.options.": Option,
}
SERVICE_TABLES: dict[str, type[Table]] = {
    "": ServiceCard,
    "service.": Service,
    "calls.": ServiceCall,
    "calls.options.": ServiceOption,
}


@pytest.mark.parametrize("tables", [TABLES, SERVICE_TABLES], ids=["card", "service"])
def test_every_field_of_a_card_is_in_the_docs(tables: dict[str, type[Table]]) -> None:
    text = GUIDE.read_text(encoding="utf-8")
    for prefix, kind in tables.items():
        for name, field in kind.model_fields.items():
            assert field.description, f"{prefix}{name}"
            assert re.search(
                rf"^\| `{prefix}{field.alias or name}` \|.*{re.escape(field.description)} \|$", text, re.M
            )


def test_the_cards_in_the_docs_hold_together(tmp_path: Path) -> None:
    blocks = re.findall(r"^```toml\n(.*?)^```$", GUIDE.read_text(encoding="utf-8"), re.M | re.S)
    cards = [block for block in blocks if "[[calls]]" in block]
    assert len(cards) == 3
    for block in cards:
        (tmp_path / "card.toml").write_text(block, encoding="utf-8")
        assert read_card(str(tmp_path / "card.toml")).calls


def test_reading_cards_needs_no_torch() -> None:
    code = (
        "import sys; from modaverse.generators.card import *; [load_card(n) for n in card_names()];"
        "sys.exit('torch' in sys.modules or 'diffusers' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
