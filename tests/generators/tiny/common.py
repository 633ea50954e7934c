"""Pieces that the tiny pipelines share: tokenizers over a handful of words, and seeded building."""

from __future__ import annotations

import string
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

Build = Callable[[], Any]
CHAT = "{% for message in messages %}{{ message['content'] }} {% endfor %}"
WORDS = [*string.ascii_lowercase, *string.digits, "a", "cat", "red", "dog", "on", "the", "beach"]


def tokenizer(
    *, max_length: int = 77, end: bool = True, template: str | None = None, special: Sequence[str] = ()
) -> PreTrainedTokenizerFast:
    """A word-level tokenizer; with `end` it closes every text with its end token."""
    vocabulary = {word: i for i, word in enumerate(dict.fromkeys(["<pad>", "<unk>", "<s>", "</s>", *WORDS]))}
    model = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    model.pre_tokenizer = pre_tokenizers.Whitespace()
    if end:
        model.post_processor = processors.TemplateProcessing(
            single="$A </s>", special_tokens=[("</s>", vocabulary["</s>"])]
        )
    made = PreTrainedTokenizerFast(
        tokenizer_object=model,
        pad_token="<pad>",
        unk_token="<unk>",
        bos_token="<s>",
        eos_token="</s>",
        model_max_length=max_length,
    )
    made.add_special_tokens({"additional_special_tokens": list(special)})
    made.chat_template = template
    return made


VOCABULARY = len(tokenizer())


def save(folder: Path, build: Build, variant: str | None) -> None:
    """Build with a fixed seed and save as every pipeline is saved."""
    torch.manual_seed(0)
    with warnings.catch_warnings():  # of torch's about classes of diffusers
        warnings.filterwarnings("ignore", message=".*weight_norm.* is deprecated", category=FutureWarning)
        made = build()
    for component in made.components.values():
        if isinstance(component, torch.nn.Module):
            _wake(component)
    made.save_pretrained(folder, safe_serialization=True, variant=variant)


def _wake(module: torch.nn.Module) -> None:
    """Some layers begin as zeros, so that nothing they are given shows in what comes out."""
    with torch.no_grad():
        for parameter in module.parameters():
            if parameter.is_floating_point() and float(parameter.abs().max()) == 0:
                parameter.normal_(0.0, 0.1)
