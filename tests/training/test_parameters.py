from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from modaverse.cli.train_settings import reckoned
from modaverse.errors import SettingsError
from modaverse.language.model import MultimodalLM
from modaverse.language.storage import base_config
from modaverse.settings import LoraSettings, ProjectorSettings
from modaverse.testing import save_tiny_llm
from modaverse.training.parameters import fresh_parts
from modaverse.training.settings import TrainSettings


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize(
    "changes",
    [
        {"lora": LoraSettings(r=3, target_modules="all-linear")},
        {
            "lora": LoraSettings(r=2, target_modules=("q_proj", "self_attn.v_proj")),
            "projector": ProjectorSettings(kind="linear", k=2, shared=True),
        },
    ],
)
def test_it_counts_what_would_be_built(tied: bool, changes: dict[str, Any], tmp_path: Path) -> None:
    base = save_tiny_llm(tmp_path, tied=tied, padding=8)
    settings = TrainSettings.parse({"data": (base,), "llm": str(base), "encoder": base, **changes})
    built = MultimodalLM.build(base, embedding_dim=24, lora=settings.lora, projector=settings.projector)
    with torch.device("meta"):
        llm = AutoModelForCausalLM.from_config(base_config(base))
    assert fresh_parts(llm, settings, 24) == built.parts()


def test_the_paper_s_setting_trains_less_than_a_hundredth_of_vicuna(monkeypatch: pytest.MonkeyPatch) -> None:
    """LoRA of rank 32 on q, k, v and o: 32 layers of 4 pairs of 32 × 4096; a matrix and a bias for each
    modality; four rows in each table, which have 262 million numbers."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    said = reckoned("modaverse-7b", None, ["--projector.kind", "linear", "--projector.k", "1"])
    assert said == (
        "trains 46,182,400 parameters, 0.69% of the LLM's 6,738,423,808: "
        "lora 33,554,432, tokens 32,768, projectors 12,595,200"
    )


def test_an_adapter_that_is_trained_already_is_not_reckoned() -> None:
    with pytest.raises(SettingsError, match="mine is trained already"):
        reckoned("modaverse-7b", None, ["--adapter", "mine"])
