"""The marker tokens: how they come into a tokenizer and into the LLM's tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from modaverse.errors import ModelError

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


def add_markers(
    llm: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, markers: Sequence[str]
) -> list[int]:
    """Add `markers` as single special tokens, with rows near the mean of all rows. Their ids, in order.

    A marker that is one of the tokenizer's tokens already keeps what the LLM knows of it. The rows of the
    others are drawn from torch's global random state.
    """
    from tokenizers import AddedToken

    old = len(tokenizer)
    new = [AddedToken(marker, special=True, normalized=False) for marker in markers]
    tokenizer.add_tokens(new, special_tokens=True)
    ids: list[int] = tokenizer.convert_tokens_to_ids(list(markers))
    fresh = [token for token in ids if token >= old]
    grow_tables(llm, len(tokenizer))
    tables = [llm.get_input_embeddings().weight, llm.get_output_embeddings().weight]
    with torch.no_grad():
        for table in tables[:1] if tables[0] is tables[1] else tables:
            known = table[:old].float()
            noise = torch.randn(len(fresh), table.shape[1]) * known.std().cpu() * 0.1
            table[fresh] = (known.mean(dim=0) + noise.to(table.device)).to(table.dtype)
    return ids


def grow_tables(llm: PreTrainedModel, size: int) -> None:
    """Give the tables at least `size` rows. A table that is padded beyond that is never shrunk."""
    if llm.get_input_embeddings().weight.shape[0] < size:
        llm.resize_token_embeddings(size, mean_resizing=False)


def table_names(llm: PreTrainedModel) -> list[str]:
    """The modules whose rows new tokens need: the input table and, where it is not tied, the output's.

    Without its own entry an untied output layer would stay as it is, and the LLM could never learn to
    write a new token.

    Raises:
        ModelError: the output layer has a bias, which peft would drop.
    """
    inputs, outputs = llm.get_input_embeddings(), llm.get_output_embeddings()
    names = {module: name for name, module in llm.named_modules()}
    if outputs.weight is inputs.weight:
        return [names[inputs]]
    if getattr(outputs, "bias", None) is not None:
        raise ModelError(
            f"The output layer {names[outputs]!r} of this LLM has a bias, so new tokens cannot be trained",
            hint="Choose an LLM whose output layer has none (Llama, Qwen, Mistral, Gemma have none).",
        )
    return [names[inputs], names[outputs]]
