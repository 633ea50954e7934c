from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Protocol

import pytest
import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers

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


_CORPUS = [
    "You are an assistant that can make pictures, videos and sounds by calling functions.",
    '<tool_call>\n{"name": "T-to-I", "arguments": {"prompt": "a brown dog on a beach"}}\n</tool_call>',
    "Draw a small red boat on a calm lake. Here it is. ### Human: ### Assistant: user model",
] * 4


class Pieces:
    """Vocabularies and merges that are trained on a few lines; `first` are the tokens with the lowest ids."""

    def byte_level(self, first: list[str]) -> tuple[dict[str, int], list[tuple[str, str]]]:
        """Vocabulary and merges in the manner of GPT-2."""
        tokenizer = Tokenizer(models.BPE())
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        alphabet = pre_tokenizers.ByteLevel.alphabet()
        return _trained(tokenizer, first, alphabet)

    def sentence_piece(self, first: list[str]) -> tuple[dict[str, int], list[tuple[str, str]]]:
        """Vocabulary and merges in the manner of SentencePiece: bytes for what has no piece."""
        tokenizer = Tokenizer(models.BPE())
        tokenizer.normalizer = normalizers.Replace(" ", "▁")
        tokenizer.pre_tokenizer = pre_tokenizers.Split("▁", "merged_with_next")
        alphabet = [*(chr(code) for code in range(0x21, 0x7F)), "▁"]
        return _trained(tokenizer, [*first, *(f"<0x{byte:02X}>" for byte in range(256))], alphabet)


def _trained(tokenizer: Tokenizer, first: list[str], alphabet: list[str]) -> Any:
    trainer = trainers.BpeTrainer(
        vocab_size=len(first) + 480,
        initial_alphabet=alphabet,
        special_tokens=first,
        show_progress=False,
    )
    tokenizer.train_from_iterator(_CORPUS, trainer)
    state = json.loads(tokenizer.to_str())["model"]
    return state["vocab"], [tuple(merge) for merge in state["merges"]]


@pytest.fixture(scope="session")
def pieces() -> Pieces:
    return Pieces()
