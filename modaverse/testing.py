"""Scripted stand-ins for each protocol, and tiny real models, for tests of this package and of plug-ins.

A fake does what its script says and records what it was asked, so that a test needs no patching. The tiny
models are real ones with random weights, small enough to be made in a moment.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

# ------------------------------------------------------------------------------- tiny real models

CONTROL_TOKENS = ("<|pad|>", "<|user|>", "<|assistant|>", "<|end|>")
"""Control tokens of the tiny tokenizer, those of `TranscriptSettings`' defaults."""

_CORPUS = (
    "Draw what you hear. Here it is: a brown dog on a beach, and a small red cat at night.",
    '{"Model": "T-to-I", "Input": "a brown dog"} {"Model": "T-to-V", "Input": "a large car"}',
    "1: 2: 3: 4: 5: failed: the generator ran out of memory. <meta></meta><media></media></s>",
)


def tiny_tokenizer() -> PreTrainedTokenizerFast:
    """A byte-level BPE of a few hundred tokens that encodes any text."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    tokenizer.train_from_iterator(_CORPUS, trainer)
    tokenizer.add_special_tokens(
        [AddedToken(token, special=True, normalized=False) for token in CONTROL_TOKENS]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<|pad|>",
        eos_token="<|end|>",
        clean_up_tokenization_spaces=False,
    )


def save_tiny_llm(
    folder: Path, *, tied: bool = True, padding: int = 0, seed: int = 0, **changes: Any
) -> Path:
    """Write a random Llama of some 30,000 parameters with its tokenizer to `folder`.

    `padding` gives its tables more rows than there are tokens; `changes` go into its configuration.
    """
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    tokenizer = tiny_tokenizer()
    settings: dict[str, Any] = {
        "vocab_size": len(tokenizer) + padding,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 512,
        "tie_word_embeddings": tied,
        "initializer_range": 0.2,
        "bos_token_id": None,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        llm = LlamaForCausalLM(LlamaConfig(**settings | changes))
    llm.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
