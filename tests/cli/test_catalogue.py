"""What can be listed and checked without loading a model: profiles and generators."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

PROFILE = """
description = "For tests"
[llm]
path = "llm"
adapter = "adapter"
[encoder]
path = "encoder"
[generators]
cards = ["mini-image", "mini-audio"]
root = "weights"
[answer]
temperature = 0.5
constrained = false
"""


@pytest.fixture
def profile(tmp_path: Path) -> Path:
    """A profile of which only the picture generator's folder is there, without weights."""
    path = tmp_path / "own.toml"
    path.write_text(PROFILE)
    folder = tmp_path / "weights" / "image"
    folder.mkdir(parents=True)
    (folder / "model_index.json").write_text(json.dumps({"_class_name": "ZImagePipeline"}))
    return path


def test_profiles_are_listed(modaverse) -> None:
    result = modaverse("profiles")
    assert result.returncode == 0
    assert [line.split()[0] for line in result.stdout.splitlines()].count("mini") == 1


def test_a_profile_shows_what_it_is_made_of(modaverse, profile: Path) -> None:
    lines = dict(line.split(maxsplit=1) for line in modaverse("profiles", profile).stdout.splitlines())
    assert lines["own"] == "For tests"
    assert lines["llm"].startswith(str(profile.parent / "llm"))
    assert lines["generators"] == "mini-image, mini-audio"
    assert lines["answers"] == "meta_response, no token mask, splice wait, temperature 0.5"


def test_generators_are_listed_with_calls_size_and_licence(modaverse) -> None:
    lines = modaverse("generators", "list").stdout.splitlines()
    line = next(line for line in lines if line.startswith("mini-image "))
    assert "T-to-I, TI-to-I" in line
    assert " GB" in line
    assert line.endswith("Apache-2.0")


def test_a_card_is_shown_with_its_calls_and_options(modaverse) -> None:
    text = modaverse("generators", "show", "mini-image").stdout
    assert "T-to-I: makes image with ZImagePipeline" in text
    assert "TI-to-I: makes image from image with ZImageImg2ImgPipeline" in text
    assert "steps" in text
    assert "(commercial use allowed)" in text


def test_an_unknown_generator_names_the_known(modaverse) -> None:
    result = modaverse("generators", "show", "mini-smell")
    assert result.returncode == 2
    assert "error: no generator is named 'mini-smell'  hint: There are: " in result.stderr


def test_a_check_says_what_is_here_and_how_to_get_the_rest(modaverse, profile: Path) -> None:
    result = modaverse("generators", "check", "--profile", profile)
    assert result.returncode == 1
    lines = result.stdout.splitlines()
    assert lines[0] == "mini-image: ok"
    assert lines[1].startswith("mini-audio: ")
    assert "no weights in" in lines[1]
    elsewhere = modaverse("generators", "check", "z-image-turbo")
    assert "is not on this machine" in elsewhere.stdout
    assert "Run: hf download " in elsewhere.stdout


SERVICE = """
kind = "http"
summary = "Pictures from elsewhere"
licence = { name = "Terms of use", commercial = true }
service = { url = "https://example.org/v1/images", key = "PAINTER_KEY" }
[[calls]]
model = "T-to-I"
makes = "image"
answer = "json"
"""


def test_a_service_is_shown_and_checked_without_its_key(modaverse, tmp_path: Path, monkeypatch) -> None:
    card = tmp_path / "painter.toml"
    card.write_text(SERVICE)
    shown = modaverse("generators", "show", card).stdout
    assert (
        "service    https://example.org/v1/images\nkey        in the environment variable PAINTER_KEY"
        in shown
    )
    result = modaverse("generators", "check", card)
    assert result.returncode == 1
    assert "painter needs a key, and PAINTER_KEY is not set\n    Set PAINTER_KEY to a key." in result.stdout
    monkeypatch.setenv("PAINTER_KEY", "sk-1234567")
    result = modaverse("generators", "check", card)
    assert (result.returncode, result.stdout) == (0, f"{card}: ok\n")


def test_what_a_pipeline_costs_beyond_its_weights_is_shown(modaverse) -> None:
    assert "which diffusers calls deprecated, 16000 Hz" in modaverse("generators", "show", "audioldm").stdout
    assert "requires   torchvision" in modaverse("generators", "show", "qwen-image-edit").stdout


def test_weights_that_hold_code_are_refused(modaverse, profile: Path) -> None:
    (profile.parent / "weights" / "image" / "pipeline.py").write_text("print('run me')")
    result = modaverse("generators", "check", "mini-image", "--profile", profile)
    assert result.returncode == 1
    assert "pipeline.py is Python code" in result.stdout
