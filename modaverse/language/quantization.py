"""Weights in less than 16 bits, through bitsandbytes."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING

import torch

from modaverse.errors import SettingsError
from modaverse.settings import Quantized

if TYPE_CHECKING:
    from transformers import BitsAndBytesConfig


def quantization_config(kind: Quantized, dtype: torch.dtype) -> BitsAndBytesConfig:
    """How transformers is to load the matrices of the LLM's layers; products are computed in `dtype`.

    `int8` is LLM.int8() (arXiv 2208.07339). `int4` is NF4 with scales that are quantised in turn (QLoRA,
    arXiv 2305.14314).

    Raises:
        SettingsError: bitsandbytes is not installed.
    """
    from transformers import BitsAndBytesConfig

    if find_spec("bitsandbytes") is None:
        raise SettingsError(
            f"llm.quantized is {kind!r}, and bitsandbytes is not installed",
            hint='Run pip install "modaverse[quantized]", or leave llm.quantized out of the profile.',
        )
    if kind == "int8":
        return BitsAndBytesConfig(load_in_8bit=True)
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype,
    )
