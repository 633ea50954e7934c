"""What a profile needs in memory, reckoned before any weights are there.

Models are built on the meta device, where tensors have sizes and no contents; the LLM's and the encoder's
sizes come from their own configuration where they are on this machine, else from the profile (`llm.sizes`)
and from ImageBind's published ones. Generators say themselves what they need (`memory_gb` in their cards).
Activations of the LLM and what a device's driver takes are not counted.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modaverse.errors import ModelNotFound, SettingsError
from modaverse.settings import Profile, Quantized

if TYPE_CHECKING:
    from torch import nn
    from transformers import PreTrainedConfig, PreTrainedModel

    from modaverse.imagebind.config import ImageBindConfig

DTYPES = ("float32", "bfloat16")
SETTINGS = (*DTYPES, "int8", "int4")
"""How the LLM can be kept. Where it is quantised, the rest of it is in bfloat16."""

_BLOCK, _BLOCKS_OF_BLOCKS = 64, 256  # values to a scale of NF4, and scales to a scale of scales


@dataclass(frozen=True, slots=True)
class Footprint:
    """Bytes that the parts of a profile take."""

    llm: int
    adapter: int  # LoRA where it cannot be merged, and the projectors
    cache: int  # keys and values of `positions` positions
    encoder: int
    generators: dict[str, int]
    positions: int

    @property
    def together(self) -> int:
        """With everything loaded."""
        return self.alone + sum(self.generators.values()) - max(self.generators.values(), default=0)

    @property
    def alone(self) -> int:
        """With one generator at a time, the largest (`generators.memory_gb` set to it)."""
        language = self.llm + self.adapter + self.cache
        return language + self.encoder + max(self.generators.values(), default=0)


def footprint(profile: Profile, kept: str, *, positions: int = 4096) -> Footprint:
    """What `profile` needs with its LLM `kept` as one of SETTINGS, for a conversation of so many positions,
    or as many as its context holds.

    Raises:
        SettingsError: nothing tells the LLM's sizes, or a card does not hold together.
    """
    import torch

    quantized: Quantized | None = kept if kept in ("int8", "int4") else None  # type: ignore[assignment]
    item = 4 if kept == "float32" else 2
    with torch.device("meta"):
        llm = sized_llm(profile)
    config = llm.config.get_text_config()
    hidden, layers = config.hidden_size, config.num_hidden_layers
    head = getattr(config, "head_dim", None) or hidden // config.num_attention_heads
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    positions = min(positions, getattr(config, "max_position_embeddings", None) or positions)
    return Footprint(
        llm=sum(_bytes(part, quantized, item) for part in _parts(llm)),
        adapter=0
        if profile.llm.adapter is None
        else _adapter(profile, llm, profile.llm.adapter, quantized is not None, item),
        cache=2 * layers * heads * head * item * positions,
        # An LLM that reads no media never loads the encoder.
        encoder=0 if profile.llm.adapter is None else _encoder(profile),
        generators=_generators(profile),
        positions=positions,
    )


def sized_llm(profile: Profile) -> PreTrainedModel:
    """The profile's LLM, new, on the device of the context: without contents on the meta device.

    Raises:
        SettingsError: nothing tells its sizes.
    """
    from transformers import AutoConfig, AutoModelForCausalLM

    from modaverse.language.storage import base_config

    settings = profile.llm
    try:
        config: PreTrainedConfig = base_config(settings.place, revision=settings.revision)
    except ModelNotFound as error:
        if not settings.sizes:
            raise SettingsError(
                f"{error.message}, and the profile does not tell its sizes",
                hint="Get the LLM first, or copy what its config.json says into llm.sizes.",
            ) from error
        sizes = dict(settings.sizes)
        config = AutoConfig.for_model(sizes.pop("model_type", "llama"), **sizes)
    return AutoModelForCausalLM.from_config(config)


@dataclass(frozen=True, slots=True)
class _Part:
    """One weight; matrices of layers can be quantised."""

    count: int
    rows: int
    matrix: bool


def _parts(llm: PreTrainedModel) -> Iterator[_Part]:
    """Every weight once, tied ones too."""
    from torch import nn

    output: Any = llm.get_output_embeddings()
    matrices = {id(module.weight) for module in llm.modules()
                if isinstance(module, nn.Linear) and module is not output}  # fmt: skip
    for weight in llm.parameters():
        yield _Part(weight.numel(), weight.shape[0], id(weight) in matrices)


def _bytes(part: _Part, quantized: Quantized | None, item: int) -> int:
    """As bitsandbytes keeps it: int8 with a float32 scale to each row; NF4 with a byte to each block of
    values, and a float32 to each block of those.
    """
    if not part.matrix or quantized is None:
        return part.count * item
    if quantized == "int8":
        return part.count + 4 * part.rows
    blocks = math.ceil(part.count / _BLOCK)
    return math.ceil(part.count / 2) + blocks + 4 * math.ceil(blocks / _BLOCKS_OF_BLOCKS)


def _adapter(profile: Profile, llm: PreTrainedModel, folder: Path, quantized: bool, item: int) -> int:
    """Projectors; and, where it cannot be merged, LoRA with its copies of whole tables. One that is not
    on this machine is taken for the released one.
    """
    import torch
    from peft import LoraConfig
    from torch import nn

    from modaverse.language.projector import Projectors
    from modaverse.language.released import PROJECTOR, lora_config
    from modaverse.language.storage import read_config

    here = (folder / "config.json").is_file()
    projector, dim = PROJECTOR, encoder_config(profile).out_embed_dim
    merged = not quantized
    if here:
        config = read_config(folder)
        projector, dim, merged = config.projector, config.embedding_dim, merged or config.merged
    with torch.device("meta"):
        projectors = Projectors(projector, dim, llm.config.get_text_config().hidden_size)
    if merged:
        return 4 * _count(projectors)
    lora: Any = LoraConfig.from_pretrained(str(folder)) if here else lora_config()
    count = 0
    for name, module in llm.named_modules():
        own = name.split(".")[-1]
        if isinstance(module, nn.Linear) and own in lora.target_modules:
            count += lora.r * (module.in_features + module.out_features)
        if own in (lora.modules_to_save or ()):
            count += _count(module)
    return 4 * _count(projectors) + item * count


def _encoder(profile: Profile) -> int:
    import torch

    from modaverse.imagebind.network import ImageBind

    with torch.device("meta"):
        net = ImageBind(encoder_config(profile), modalities=("vision", "audio"))
    return _count(net) * int(getattr(torch, profile.encoder.dtype).itemsize)


def encoder_config(profile: Profile) -> ImageBindConfig:
    """The encoder's own configuration, else the published sizes."""
    import json

    from modaverse.imagebind.config import ImageBindConfig

    path: Path = profile.encoder.path / "config.json"
    return ImageBindConfig.from_dict(json.loads(path.read_text())) if path.is_file() else ImageBindConfig()


def _generators(profile: Profile) -> dict[str, int]:
    """Of those that run here: a service takes no memory of this machine, and a plug-in does not say."""
    from modaverse.generators.card import Card
    from modaverse.generators.opening import is_card, read_card

    precision = profile.generators.precision
    needs = {}
    for name in profile.generators.cards:
        card = read_card(name) if is_card(name) else None
        if isinstance(card, Card):
            known: dict[str, float] = {str(key): value for key, value in card.memory_gb.items()}
            needs[card.name] = round(1e9 * known.get(precision or card.precision, known[card.precision]))
    return needs


def _count(module: nn.Module) -> int:
    return sum(weight.numel() for weight in module.parameters())
