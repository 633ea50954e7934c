from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from modaverse.errors import SettingsError
from modaverse.settings import Profile, Settings, load_profile, profile_names

ROOT = Path(__file__).parent.parent

PLAIN = """
name = "plain"
[llm]
path = "llm"
adapter = "adapter"
[encoder]
path = "encoder"
[generators]
cards = ["mini-image", "mine.toml"]
root = "weights"
"""


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_paths_are_relative_to_the_file(tmp_path: Path) -> None:
    profile = load_profile(write(tmp_path / "plain.toml", PLAIN))
    assert (profile.llm.path, profile.llm.adapter) == (tmp_path / "llm", tmp_path / "adapter")
    assert (profile.encoder.path, profile.generators.root) == (tmp_path / "encoder", tmp_path / "weights")
    assert profile.generators.cards == ("mini-image", str(tmp_path / "mine.toml"))
    assert profile.llm.place == str(tmp_path / "llm")


def test_a_folder_holds_its_profile(tmp_path: Path) -> None:
    write(tmp_path / "trained" / "profile.toml", PLAIN.replace('name = "plain"', ""))
    profile = load_profile(tmp_path / "trained")
    assert (profile.name, profile.llm.path) == ("trained", tmp_path / "trained" / "llm")


def test_a_profile_extends_another(tmp_path: Path) -> None:
    write(tmp_path / "base" / "plain.toml", PLAIN)
    child = 'extends = "base/plain.toml"\n[llm]\nadapter = "mine"\n[answer]\ntop_p = 0.5\n'
    profile = load_profile(write(tmp_path / "child.toml", child))
    assert (profile.name, profile.answer.top_p) == ("child", 0.5)
    assert (profile.llm.path, profile.llm.adapter) == (tmp_path / "base" / "llm", tmp_path / "mine")
    # A repository takes the place of the path that was inherited.
    child = 'extends = "base/plain.toml"\n[llm]\nrepository = "owner/name"\n'
    profile = load_profile(write(tmp_path / "other.toml", child))
    assert (profile.llm.place, profile.llm.path) == ("owner/name", None)


def test_mini_ships_and_can_be_extended(tmp_path: Path) -> None:
    assert "mini" in profile_names()
    mini = load_profile("mini")
    assert mini.llm.path is not None
    assert (mini.llm.path / "tokenizer.json").is_file()
    child = load_profile(write(tmp_path / "x.toml", 'extends = "mini"\n[llm]\nadapter = "."\n'))
    assert (child.llm.path, child.llm.adapter) == (mini.llm.path, tmp_path)
    assert child.generators == mini.generators


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ('name = "plain"\nsize = 3', "size: Extra inputs are not permitted"),
        ('name = "plain"\n[answer]\ntop_p = 2', r"answer\.top_p: Input should be less than or equal to 1"),
        ('name = "plain"\n[answer]\nsplice = "soon"', r"answer\.splice: Input should be 'wait'"),
        ('name = "plain"\n[llm', "is no readable TOML"),
    ],
)
def test_faults_name_file_and_field(tmp_path: Path, change: str, message: str) -> None:
    path = write(tmp_path / "plain.toml", PLAIN.replace('name = "plain"', change))
    with pytest.raises(SettingsError, match=rf"plain\.toml.*{message}") as caught:
        load_profile(path)
    assert caught.value.hint


def test_an_llm_has_one_place(tmp_path: Path) -> None:
    text = PLAIN.replace('path = "llm"', 'path = "llm"\nrepository = "owner/name"')
    with pytest.raises(SettingsError, match="llm: give either path or repository"):
        load_profile(write(tmp_path / "plain.toml", text))


def test_circles_and_missing_profiles_are_named(tmp_path: Path) -> None:
    write(tmp_path / "a.toml", 'extends = "b.toml"')
    write(tmp_path / "b.toml", 'extends = "a.toml"')
    with pytest.raises(SettingsError, match=r"a\.toml extends itself"):
        load_profile(tmp_path / "a.toml")
    with pytest.raises(SettingsError, match="there is no profile nowhere") as caught:
        load_profile("nowhere")
    assert "mini" in caught.value.hint


def fields(kind: type[Settings], prefix: str = "") -> dict[str, str]:
    """Every field of a profile with its description."""
    found: dict[str, str] = {}
    for name, field in kind.model_fields.items():
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, Settings):
            found |= fields(inner, f"{prefix}{name}.")
        else:
            found[prefix + name] = " ".join((field.description or "").split())
    return found


def test_the_documentation_explains_every_field() -> None:
    text = (ROOT / "docs" / "profiles.md").read_text()
    for name, description in fields(Profile).items():
        assert description, name
        assert f"| `{name}` |" in text, name
        assert description in text, name


def test_settings_are_frozen_and_know_their_names() -> None:
    profile = load_profile("mini")
    with pytest.raises(ValidationError):
        profile.name = "other"  # type: ignore[misc]
    with pytest.raises(ValidationError):
        Profile(**{**profile.model_dump(), "unknown": 1})
