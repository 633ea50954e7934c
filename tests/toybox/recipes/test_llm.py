"""The LLM's recipe: sizes, packing, loss, and what it measures."""

from __future__ import annotations

import random
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from modaverse.toybox.recipes.llm import (
    BATCH,
    LENGTH,
    build_llm,
    llm_loss,
    llm_recipes,
    packed,
    share_right,
    understanding,
)
from modaverse.toybox.recipes.registry import recipes
from modaverse.toybox.tokenizer import EOS, load_tokenizer


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    return load_tokenizer()


def test_the_llm_has_its_planned_size(tokenizer: PreTrainedTokenizerFast) -> None:
    model = build_llm(tokenizer)
    assert sum(p.numel() for p in model.parameters()) == 5_606_656
    assert model.config.tie_word_embeddings
    assert model.config.eos_token_id == tokenizer.eos_token_id
    assert torch.equal(model.lm_head.weight, build_llm(tokenizer).lm_head.weight)


def test_documents_are_packed_from_their_beginnings(tokenizer: PreTrainedTokenizerFast) -> None:
    ids = packed(tokenizer, random.Random(1), 3)
    assert ids.shape == (3, LENGTH)
    assert torch.equal(ids, packed(tokenizer, random.Random(1), 3))
    for row in ids:
        assert (row == tokenizer.eos_token_id).sum() >= 1
        assert (row != tokenizer.pad_token_id).all()


def test_batches_are_a_function_of_the_step(tokenizer: PreTrainedTokenizerFast) -> None:
    (recipe,) = llm_recipes(Path("unused"), lambda done, count: None)
    assert recipe.batch(3).shape == (BATCH, LENGTH)
    assert torch.equal(recipe.batch(3), recipe.batch(3))
    assert not torch.equal(recipe.batch(3), recipe.batch(4))


def test_the_recipe_is_registered() -> None:
    (recipe,) = recipes("llm", Path("unused"))
    assert recipe.name == "llm"


def test_the_loss_of_a_new_model_is_that_of_guessing_and_falls(tokenizer: PreTrainedTokenizerFast) -> None:
    model = build_llm(tokenizer)
    ids = packed(tokenizer, random.Random(1), 1)[:, :64]
    optimizer = torch.optim.AdamW(model.parameters(), 3e-3)
    losses = []
    for _ in range(4):
        loss, measures = llm_loss(model, ids)
        assert measures["perplexity"] == pytest.approx(loss.exp().item())
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    assert losses[0] == pytest.approx(8.03, abs=0.2)  # log 3072
    assert losses[-1] < losses[0] - 1


class Knows(nn.Module):
    """Foretells each sequence it was given, but for the last token of every second one."""

    def __init__(self, spoilt: bool) -> None:
        super().__init__()
        self.spoilt = spoilt

    def forward(self, input_ids: Tensor, use_cache: bool) -> SimpleNamespace:
        following = input_ids.roll(-1, dims=1)
        if self.spoilt:
            following[::2] += 1
        return SimpleNamespace(logits=nn.functional.one_hot(following, 4000).float())


def test_right_answers_are_counted_token_for_token(tokenizer: PreTrainedTokenizerFast) -> None:
    prompts, answers = understanding(tokenizer, random.Random(2), 24, split="held_out")
    assert len(prompts) == len(answers) == 24
    assert all(tokenizer.decode(answer).endswith(EOS) for answer in answers)
    pad = tokenizer.pad_token_id
    assert share_right(Knows(spoilt=False), prompts, answers, pad) == 1.0
    assert share_right(Knows(spoilt=True), prompts, answers, pad) == 0.5


def test_it_is_saved_so_that_it_loads(tokenizer: PreTrainedTokenizerFast, tmp_path: Path) -> None:
    (recipe,) = llm_recipes(tmp_path, lambda done, count: None)
    recipe.export(recipe.build(), tmp_path / "llm")
    loaded = LlamaForCausalLM.from_pretrained(tmp_path / "llm")
    assert loaded.num_parameters() == 5_606_656
    assert (tmp_path / "llm" / "tokenizer.json").exists()
    assert (tmp_path / "llm" / "model.safetensors").stat().st_size < 12_000_000
