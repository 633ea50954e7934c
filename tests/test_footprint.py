from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

from modaverse.cli.profiles import memory_table
from modaverse.errors import SettingsError
from modaverse.footprint import footprint
from modaverse.language.model import MultimodalLM
from modaverse.language.storage import load_base
from modaverse.settings import LoraSettings, Profile, load_profile
from modaverse.testing import save_tiny_llm

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def profile(tmp_path_factory: pytest.TempPathFactory) -> Profile:
    root = tmp_path_factory.mktemp("profile")
    save_tiny_llm(root / "base", tied=False)
    lm = MultimodalLM.build(root / "base", embedding_dim=24, lora=LoraSettings(r=3))
    lm.save_pretrained(root / "adapter")
    values = {
        "name": "tiny",
        "llm": {"path": root / "base", "adapter": root / "adapter"},
        "encoder": {"path": root / "encoder", "dtype": "float16"},
        "generators": {"cards": ["stable-diffusion-1.5", "audioldm"]},
    }
    return Profile.model_validate(values)


def test_it_counts_what_is_loaded(profile: Profile) -> None:
    llm, _ = load_base(profile.llm.place, revision=None, dtype=torch.float32)
    need = footprint(profile, "float32", positions=10)
    assert need.llm == sum(weight.nbytes for weight in llm.parameters())
    assert footprint(profile, "bfloat16").llm == need.llm // 2
    # Two layers with two heads of keys and values, eight wide.
    assert need.cache == 2 * 2 * 2 * 8 * 4 * 10
    assert need.generators == {"stable-diffusion-1.5": 3_500_000_000, "audioldm": 1_500_000_000}
    assert footprint(profile, "float32", positions=10_000).positions == 512  # its context
    assert need.together - need.alone == 1_500_000_000


def test_quantised_matrices_take_less_and_lora_stays_apart(profile: Profile) -> None:
    llm, _ = load_base(profile.llm.place, revision=None, dtype=torch.float32)
    tables = sum(table.weight.numel() for table in (llm.get_input_embeddings(), llm.get_output_embeddings()))
    matrices = [w for n, w in llm.named_parameters() if "proj" in n]
    rest = sum(w.numel() for w in llm.parameters()) - tables - sum(w.numel() for w in matrices)
    need = footprint(profile, "int8")
    assert need.llm == 2 * (tables + rest) + sum(w.numel() + 4 * w.shape[0] for w in matrices)
    four = footprint(profile, "int4")
    assert need.llm - four.llm > sum(w.numel() for w in matrices) // 3
    whole = MultimodalLM.from_pretrained(profile.llm.place, str(profile.llm.adapter), merge=False)
    lora = sum(w.numel() for n, w in whole.named_parameters() if ".lora_" in n)
    assert four.adapter - footprint(profile, "bfloat16").adapter == 2 * lora


def test_an_llm_that_is_nowhere_needs_its_sizes(profile: Profile, tmp_path: Path) -> None:
    absent = profile.llm.model_copy(update={"path": tmp_path / "llm"})
    with pytest.raises(SettingsError, match="does not tell its sizes"):
        footprint(profile.model_copy(update={"llm": absent}), "int4")


@pytest.mark.parametrize("name", ["modaverse-7b", "open"])
def test_the_documentation_shows_what_is_reckoned(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    text = (ROOT / "docs" / "profiles.md").read_text()
    shown = re.search(rf"^\| {name} \|.*?\n\n", text + "\n", re.MULTILINE | re.DOTALL)
    assert shown is not None
    assert shown[0].strip().splitlines() == memory_table(load_profile(name), 4096)
