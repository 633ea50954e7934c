"""How many parameters would train, reckoned from sizes alone: on the meta device no weights are needed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

from modaverse.language.model import PartSize
from modaverse.language.projector import Projectors
from modaverse.language.vocabulary import table_names
from modaverse.settings import LoraSettings
from modaverse.training.settings import TrainSettings

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def fresh_parts(llm: PreTrainedModel, settings: TrainSettings, dim: int) -> list[PartSize]:
    """What a run would train that begins with a fresh adapter on `llm`, part by part.

    Args:
        llm: may be without contents; rows that its tables still get are not counted as its own.
        dim: width of the encoder's embeddings.

    Raises:
        ModelError: this LLM cannot learn new tokens.
    """
    hidden = llm.get_input_embeddings().weight.shape[1]
    with torch.device("meta"):
        projectors = Projectors(settings.projector, dim, hidden)
    trained = {
        "lora": _lora(llm, settings.lora),
        "tokens": len(settings.transcript.markers) * hidden * len(table_names(llm)),
        "projectors": _count(projectors),
    }
    return [PartSize("base", _count(llm), 0), *(PartSize(part, n, n) for part, n in trained.items())]


def _lora(llm: PreTrainedModel, lora: LoraSettings) -> int:
    """Two matrices of rank r beside each that is adapted, as peft finds them."""
    output: object = llm.get_output_embeddings()
    linear = {n: m for n, m in llm.named_modules() if isinstance(m, nn.Linear) and m is not output}
    if lora.target_modules != "all-linear":
        ends = tuple(f".{target}" for target in lora.target_modules)
        linear = {name: module for name, module in linear.items() if f".{name}".endswith(ends)}
    return sum(lora.r * (module.in_features + module.out_features) for module in linear.values())


def _count(module: nn.Module) -> int:
    return sum(weight.numel() for weight in module.parameters())
