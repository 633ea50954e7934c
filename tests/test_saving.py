"""Profiles that are saved, merged and shared."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from modaverse import ModaVerse
from modaverse.assembly import load_language
from modaverse.context import Modality
from modaverse.errors import SettingsError, StorageError
from modaverse.interfaces import Sampling
from modaverse.language.model import MultimodalLM
from modaverse.merging import merge_adapter
from modaverse.saving import push_profile
from modaverse.settings import LoraSettings, Profile, load_profile
from modaverse.testing import save_tiny_llm

DIM = 24
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """base/, and trained/ with a stirred adapter, its card, and what a training run leaves."""
    root = tmp_path_factory.mktemp("profiles")
    base = save_tiny_llm(root / "base", tied=False)
    lora = LoraSettings(r=2, alpha=2, dropout=0.0)
    lm = MultimodalLM.build(base, embedding_dim=DIM, lora=lora)
    for name, parameter in lm.named_parameters():
        if "lora_B" in name or "trainable_tokens" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    lm.save_pretrained(root / "trained")
    (root / "trained" / "README.md").write_text("# A card\n")
    (root / "trained" / "checkpoints").mkdir()
    (root / "trained" / "checkpoints" / "state").write_text("left over")
    (root / "trained" / "profile.toml").write_text(
        'extends = "mini"\n[llm]\npath = "../base"\nadapter = "."\n[answer]\ntop_p = 0.5\n'
    )
    return root


def logits(profile: Profile, **options: Any) -> torch.Tensor:
    transcript = load_language(profile, CPU, **options).transcript(seed=0, sampling=Sampling())
    transcript.add_user_start()
    transcript.add_media(1, Modality.IMAGE, torch.linspace(-1, 1, DIM))
    transcript.add_text("Draw it.")
    transcript.add_user_end()
    return transcript.logits()


def test_a_saved_profile_is_the_same_again(folder: Path, tmp_path: Path) -> None:
    with ModaVerse.from_profile(folder / "trained") as engine:
        engine.save_pretrained(tmp_path / "copy")
    names = {path.name for path in (tmp_path / "copy").iterdir()}
    assert {"README.md", "adapter_model.safetensors", "projectors.safetensors", "tokenizer.json"} <= names
    assert "checkpoints" not in names
    text = (tmp_path / "copy" / "profile.toml").read_text()
    assert text.startswith('extends = "mini"\n')
    assert 'adapter = "."' in text
    before, after = load_profile(folder / "trained"), load_profile(tmp_path / "copy")
    assert (after.answer, after.generators, after.encoder) == (
        before.answer,
        before.generators,
        before.encoder,
    )
    assert after.llm.adapter == tmp_path / "copy"
    assert torch.equal(logits(after), logits(before))


def test_it_is_not_saved_onto_itself(folder: Path) -> None:
    with pytest.raises(SettingsError, match="is where the adapter lies"):
        ModaVerse.from_profile(folder / "trained").save_pretrained(folder / "trained")


def test_a_merged_profile_needs_no_base(folder: Path, tmp_path: Path) -> None:
    before = load_profile(folder / "trained")
    merge_adapter(before, tmp_path / "merged")
    merged = load_profile(tmp_path / "merged")
    assert merged.llm.path == tmp_path / "merged" / "llm"
    assert not list((tmp_path / "merged").glob("adapter*"))
    torch.testing.assert_close(logits(merged), logits(before, merge=False), atol=1e-5, rtol=1e-5)
    # It can be moved, and saved again with the LLM that is now part of it.
    ModaVerse.from_profile(tmp_path / "merged").save_pretrained(tmp_path / "copy")
    (tmp_path / "merged").rename(tmp_path / "gone")
    assert torch.equal(logits(load_profile(tmp_path / "copy")), logits(load_profile(tmp_path / "gone")))


def test_it_keeps_the_type_of_the_base_or_takes_another(folder: Path, tmp_path: Path) -> None:
    before = load_profile(folder / "trained")
    merge_adapter(before, tmp_path / "half", dtype=torch.bfloat16)
    from safetensors.torch import load_file

    weights = load_file(tmp_path / "half" / "llm" / "model.safetensors")
    assert {tensor.dtype for tensor in weights.values()} == {torch.bfloat16}


def test_what_cannot_be_merged(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="open has no adapter"):
        merge_adapter(load_profile("open"), tmp_path / "merged")
    with pytest.raises(SettingsError, match="is not empty"):
        merge_adapter(load_profile(folder / "trained"), folder / "trained")


class Hub:
    """Takes uploads as `HfApi` does, or fails."""

    def __init__(self, failure: Exception | None = None) -> None:
        self.failure = failure
        self.files: dict[str, str] = {}

    def create_repo(self, repository: str, *, private: bool, exist_ok: bool) -> None:
        if self.failure is not None:
            raise self.failure

    def upload_folder(self, *, repo_id: str, folder_path: Path, commit_message: str) -> Any:
        self.files = {path.name: "" for path in folder_path.iterdir()}
        self.profile = (folder_path / "profile.toml").read_text()

        class Commit:
            repo_url = f"https://hub/{repo_id}"

        return Commit


def test_a_profile_on_the_hub_names_nothing_of_this_machine(folder: Path, tmp_path: Path) -> None:
    hub: Any = Hub()
    with pytest.raises(SettingsError, match=r"llm\.path is .*base, which lies on this machine only"):
        push_profile(load_profile(folder / "trained"), "owner/name", api=hub)
    assert hub.files == {}
    merge_adapter(load_profile(folder / "trained"), tmp_path / "merged")
    assert push_profile(load_profile(tmp_path / "merged"), "owner/name", api=hub) == "https://hub/owner/name"
    assert {"profile.toml", "llm", "projectors.safetensors"} <= hub.files.keys()
    assert str(tmp_path) not in hub.profile


def test_what_ships_can_be_extended_and_shared() -> None:
    hub: Any = Hub()
    push_profile(load_profile("open"), "owner/name", api=hub)
    assert hub.profile == 'extends = "open"\n'


def test_a_hub_that_refuses_is_named(folder: Path) -> None:
    hub: Any = Hub(OSError("no such owner\nmore"))
    with pytest.raises(StorageError, match=r"owner/name was not uploaded: no such owner$"):
        push_profile(load_profile("open"), "owner/name", api=hub)
