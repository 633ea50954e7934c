"""The recipe of mini's LLM: a small Llama that learns Toybox's language, before any media or calls.

Documents are packed one after the other into sequences of 256 tokens; each sequence begins with the beginning
of a document. Batches are made anew for every step, so that hardly a document is seen twice.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerBase

from modaverse.toybox.corpus import rewriting, sample_document
from modaverse.toybox.recipes.registry import PoolReport
from modaverse.toybox.recipes.trainer import Measures, Recipe, Schedule
from modaverse.toybox.tokenizer import ASSISTANT, MAX_LENGTH, load_tokenizer
from modaverse.toybox.wordings.grammar import Split

LENGTH = 256
BATCH = 16
IGNORED = -100


def build_llm(tokenizer: PreTrainedTokenizerBase) -> LlamaForCausalLM:
    """A fresh Llama of 5.6 million parameters for `tokenizer`."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=256,
        intermediate_size=704,
        num_hidden_layers=6,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=MAX_LENGTH,
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return LlamaForCausalLM(config)


def packed(
    tokenizer: PreTrainedTokenizerBase, rng: random.Random, count: int, *, split: Split = "train"
) -> Tensor:
    """`count` sequences of documents: (count, 256), int64. No document is cut at its beginning."""
    return torch.stack([torch.tensor(_sequence(tokenizer, rng, split)) for _ in range(count)])


def _sequence(tokenizer: PreTrainedTokenizerBase, rng: random.Random, split: Split) -> list[int]:
    ids: list[int] = []
    while len(ids) < LENGTH:
        # Several at a time: the tokenizer is faster so. Whatever is too much is cut at the end.
        for document in tokenizer([sample_document(rng, split) for _ in range(4)]).input_ids:
            ids += document
    return ids[:LENGTH]


def llm_loss(model: nn.Module, ids: Tensor) -> tuple[Tensor, Measures]:
    """Mean cross-entropy of every next token of `ids` (b, s)."""
    logits = model(input_ids=ids[:, :-1], use_cache=False).logits
    loss = F.cross_entropy(logits.flatten(0, 1).float(), ids[:, 1:].flatten())
    return loss, {"perplexity": loss.exp().item()}


# ------------------------------------------------------------------------------------ evaluation


def understanding(
    tokenizer: PreTrainedTokenizerBase, rng: random.Random, count: int, *, split: Split
) -> tuple[list[list[int]], list[list[int]]]:
    """Requests with the captions that they mean: `count` prompts and their answers, as ids."""
    prompts: list[list[int]] = []
    answers: list[list[int]] = []
    while len(prompts) < count:
        question, mark, answer = rewriting(rng, split).partition(ASSISTANT)
        if mark:  # the other half are no conversations
            # How an answer begins is a matter of taste, the caption itself is not.
            for opening in ("Caption: ", "The caption is: "):
                answer = answer.removeprefix(opening)
            prompts.append(list(tokenizer(f"{question}{mark}Caption:").input_ids))
            answers.append(list(tokenizer(f" {answer}").input_ids))
    return prompts, answers


@torch.inference_mode()
def share_right(
    model: nn.Module, prompts: Sequence[Sequence[int]], answers: Sequence[Sequence[int]], pad: int
) -> float:
    """How many answers a greedy decoder would write, token for token."""
    right = 0
    for start in range(0, len(prompts), BATCH):
        pairs = list(zip(prompts, answers, strict=True))[start : start + BATCH]
        width = max(len(prompt) + len(answer) for prompt, answer in pairs)
        ids = torch.full((len(pairs), width), pad)
        targets = torch.full((len(pairs), width), IGNORED)
        for row, (prompt, answer) in enumerate(pairs):
            end = len(prompt) + len(answer)
            ids[row, :end] = torch.tensor([*prompt, *answer])
            targets[row, len(prompt) : end] = torch.tensor(answer)
        guesses = model(input_ids=ids, use_cache=False).logits[:, :-1].argmax(-1)
        wrong = (guesses != targets[:, 1:]) & (targets[:, 1:] != IGNORED)
        right += int((~wrong.any(1)).sum())
    return right / len(prompts)


# ---------------------------------------------------------------------------------------- recipe


def llm_recipes(runs: Path, report: PoolReport, *, steps: int = 6500) -> tuple[Recipe]:
    """The one recipe of the LLM; it needs no pools."""
    tokenizer = load_tokenizer()
    pad = tokenizer.pad_token_id

    def build() -> LlamaForCausalLM:
        model = build_llm(tokenizer)
        model.set_attn_implementation("eager")  # a tenth faster at this length than the fused kernel of a CPU
        return model

    def batch(step: int) -> Tensor:
        return packed(tokenizer, random.Random(f"llm:{step}"), BATCH)

    checks = cache(lambda: _checks(tokenizer))

    def evaluate(module: nn.Module) -> Measures:
        measures = {}
        for split, (ids, prompts, answers) in checks().items():
            measures[f"loss_{split}"] = llm_loss(module, ids)[0].item()
            measures[f"captions_{split}"] = share_right(module, prompts, answers, pad)
        return measures

    def export(module: nn.Module, folder: Path) -> None:
        if not isinstance(module, LlamaForCausalLM):
            raise TypeError(f"not mini's LLM: {type(module)}")
        module.half().save_pretrained(folder)
        tokenizer.save_pretrained(folder)

    return (
        Recipe(
            name="llm",
            schedule=Schedule(
                steps=steps,
                learning_rate=4e-3,
                warmup=200,
                weight_decay=0.05,
                beta2=0.98,
                ema=0.998,
                muon=True,
            ),
            build=build,
            batch=batch,
            loss=llm_loss,
            evaluate=evaluate,
            export=export,
            evaluate_every=250,
        ),
    )


def _checks(
    tokenizer: PreTrainedTokenizerBase,
) -> dict[str, tuple[Tensor, list[list[int]], list[list[int]]]]:
    splits: tuple[Split, ...] = ("train", "held_out")
    found: dict[str, tuple[Tensor, list[list[int]], list[list[int]]]] = {}
    for split in splits:
        rng = random.Random(f"llm-check:{split}")
        found[split] = (
            packed(tokenizer, rng, BATCH, split=split),
            *understanding(tokenizer, rng, 256, split=split),
        )
    return found
