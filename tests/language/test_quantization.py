"""Low memory: LLMs in 8 and 4 bits, and spread over devices."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest
import torch

from modaverse.context import Modality
from modaverse.errors import SettingsError
from modaverse.interfaces import Sampling
from modaverse.language import quantization
from modaverse.language.batch import Example
from modaverse.language.model import MultimodalLM
from modaverse.language.prompt import Slot, Tokens
from modaverse.settings import LoraSettings
from modaverse.testing import save_tiny_llm

DIM = 24


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    sizes = {"hidden_size": 128, "intermediate_size": 128, "initializer_range": 0.05}
    return save_tiny_llm(tmp_path_factory.mktemp("base"), tied=False, **sizes)


@pytest.fixture(scope="module")
def adapter(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("adapter")
    lm = MultimodalLM.build(base, embedding_dim=DIM, lora=LoraSettings(r=4, alpha=4, dropout=0.0))
    for name, parameter in lm.named_parameters():
        if "lora_B" in name or "trainable_tokens" in name:
            torch.nn.init.normal_(parameter, std=0.05)
    lm.save_pretrained(folder)
    return folder


def logits(lm: MultimodalLM) -> torch.Tensor:
    transcript = lm.transcript(seed=0, sampling=Sampling())
    transcript.add_user_start()
    transcript.add_media(1, Modality.IMAGE, torch.linspace(-1, 1, DIM))
    transcript.add_text("Draw it.")
    transcript.add_user_end()
    found = transcript.logits()
    return found[~torch.isneginf(found)]


@pytest.mark.parametrize("device_map", ["auto", {"": "cpu"}])
def test_an_llm_that_was_spread_answers_as_one_that_was_not(
    base: Path, adapter: Path, device_map: Any
) -> None:
    spread = MultimodalLM.from_pretrained(base, adapter, device_map=device_map).place(None)
    torch.testing.assert_close(
        logits(spread), logits(MultimodalLM.from_pretrained(base, adapter)), atol=1e-4, rtol=1e-4
    )


def test_without_bitsandbytes_it_says_what_to_install(
    base: Path, adapter: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quantization, "find_spec", lambda name: None)
    with pytest.raises(SettingsError, match="'int4', and bitsandbytes is not installed") as caught:
        MultimodalLM.from_pretrained(base, adapter, quantized="int4")
    assert "modaverse[quantized]" in caught.value.hint


@pytest.mark.skipif(importlib.util.find_spec("bitsandbytes") is None, reason="needs the extra quantized")
@pytest.mark.parametrize(("kind", "least"), [("int8", 0.99), ("int4", 0.9)])
def test_a_quantised_llm_answers_nearly_the_same(base: Path, adapter: Path, kind: Any, least: float) -> None:
    lm = MultimodalLM.from_pretrained(base, adapter, quantized=kind, device_map={"": "cpu"}).place(None)
    kinds = {type(module).__name__ for module in lm.core.modules()}
    assert kinds & {"Linear8bitLt", "Linear4bit"}
    whole = MultimodalLM.from_pretrained(base, adapter, merge=False)
    assert torch.nn.functional.cosine_similarity(logits(lm), logits(whole), dim=0) > least
    assert lm.parts() == whole.parts()


@pytest.mark.skipif(importlib.util.find_spec("bitsandbytes") is None, reason="needs the extra quantized")
def test_an_adapter_trains_on_a_quantised_llm(base: Path, tmp_path: Path) -> None:
    lora = LoraSettings(r=4, alpha=4, dropout=0.0)
    lm = MultimodalLM.build(base, embedding_dim=DIM, lora=lora, quantized="int4", device_map={"": "cpu"})
    spans = [Tokens((5, 6, 7)), Slot(1, Modality.IMAGE), Tokens((8, 9, 10), sampled=True)]
    batch = lm.collate([Example(spans, {1: torch.linspace(-1, 1, DIM)})])
    lm(**batch).loss.backward()
    trained = {lm.part_of(name) for name, weight in lm.named_parameters() if weight.grad is not None}
    assert trained == {"lora", "tokens", "projectors"}
    lm.save_pretrained(tmp_path)
    assert MultimodalLM.from_pretrained(base, tmp_path).config.transcript == lm.config.transcript
