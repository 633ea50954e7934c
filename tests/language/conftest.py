from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

import pytest
import torch

from modaverse.language.model import MultimodalLM
from modaverse.settings import LoraSettings, ProjectorSettings
from modaverse.testing import save_tiny_llm

DIM = 24


class Build(Protocol):
    def __call__(self, base: Path, **changes: Any) -> MultimodalLM: ...


@pytest.fixture(scope="session")
def tied_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_llm(tmp_path_factory.mktemp("tied"), tied=True)


@pytest.fixture(scope="session")
def untied_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_llm(tmp_path_factory.mktemp("untied"), tied=False)


@pytest.fixture(params=["tied", "untied"])
def base(request: pytest.FixtureRequest) -> Path:
    folder: Path = request.getfixturevalue(f"{request.param}_base")
    return folder


@pytest.fixture(scope="session")
def build() -> Build:
    """A model on a tiny base, its adapter stirred so that it has an effect (a fresh one has none)."""

    def build(base: Path, *, stirred: bool = True, **changes: Any) -> MultimodalLM:
        settings: dict[str, Any] = {
            "embedding_dim": DIM,
            "projector": ProjectorSettings(k=3),
            "lora": LoraSettings(r=4, alpha=8, dropout=0.0, target_modules="all-linear"),
        }
        model = MultimodalLM.build(base, **settings | changes)
        generator = torch.Generator().manual_seed(1)
        for name, parameter in model.named_parameters():
            if stirred and ("lora_B" in name or "trainable_tokens" in name):
                parameter.data += 0.1 * torch.randn(parameter.shape, generator=generator)
        return model.eval()

    return build
