"""The LLM with its marker tokens, its LoRA adapter and the projectors, as one module.

    text ids ────────────────► embedding table ─┐
    encoder's embeddings (d,) ─► projector (k, h) ┴► LLM + LoRA ─► logits, loss

Any `AutoModelForCausalLM` with its own tokenizer serves as the base. What trains is small: the adapter,
the rows of the new tokens in the input and the output table, and the projectors.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn import functional as F

from modaverse.errors import ModelError
from modaverse.interfaces import Sampling
from modaverse.language.batch import IGNORED, MODALITIES, Batch, Example, collate
from modaverse.language.chat_template import scheme_of
from modaverse.language.decoding import CachedTranscript
from modaverse.language.projector import Projectors
from modaverse.language.prompt import Script
from modaverse.language.storage import (
    DeviceMap,
    LanguageConfig,
    load_base,
    load_parts,
    quiet,
    save_parts,
)
from modaverse.language.vocabulary import add_markers, table_names
from modaverse.settings import LoraSettings, ProjectorSettings, Quantized, TranscriptSettings

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase
    from transformers.modeling_outputs import CausalLMOutput

_log = logging.getLogger(__name__)

PARTS = ("base", "lora", "tokens", "projectors")


@dataclass(frozen=True, slots=True)
class PartSize:
    """Parameters of one part, and how many of them train."""

    part: str
    parameters: int
    trainable: int


class MultimodalLM(nn.Module):
    """An LLM that reads media; implements `interfaces.LanguageModel`.

    It is put together by `build` (a fresh adapter, for training) or `from_pretrained`.
    """

    token_bias: torch.Tensor
    accepts_loss_kwargs = True  # tells transformers' Trainer that `num_items_in_batch` is honoured

    def __init__(
        self,
        llm: Any,
        tokenizer: PreTrainedTokenizerBase,
        projectors: Projectors,
        config: LanguageConfig,
    ) -> None:
        super().__init__()
        self.llm: Any = llm
        self.projectors = projectors
        self.tokenizer = tokenizer
        self.config = config
        self.script = Script(tokenizer, config.transcript)
        table = self.core.get_output_embeddings().weight
        self.register_buffer("token_bias", self._token_bias(table.shape[0]), persistent=False)

    def _token_bias(self, rows: int) -> torch.Tensor:
        """(rows,) to add to logits: -inf where no answer may go (control tokens, the table's padding)."""
        bias = torch.zeros(rows)
        bias[len(self.tokenizer) :] = -torch.inf
        bias[sorted(self.script.never_sampled)] = -torch.inf
        return bias

    @property
    def core(self) -> PreTrainedModel:
        """The causal LM itself, with the adapter's layers in it where there is one."""
        get_base_model = getattr(self.llm, "get_base_model", None)
        return self.llm if get_base_model is None else get_base_model()

    @property
    def context_length(self) -> int:
        """Positions that fit; by the settings, or as the LLM's own configuration says."""
        own = getattr(self.core.config.get_text_config(), "max_position_embeddings", None)
        return self.config.context_length or own or 2048

    def place(self, device: torch.device | None) -> MultimodalLM:
        """Move everything to `device`; None leaves the LLM where a device map put it, and moves the rest to
        the device of its embeddings, which is where its logits come out as well.
        """
        if device is not None:
            return self.to(device)
        self.projectors.to(self.device)
        self.token_bias = self.token_bias.to(self.device)
        return self

    @property
    def device(self) -> torch.device:
        return self.core.get_input_embeddings().weight.device  # type: ignore[no-any-return]

    # -------------------------------------------------------------------------- making and keeping

    @classmethod
    def build(
        cls,
        base: str | Path,
        *,
        embedding_dim: int,
        projector: ProjectorSettings | None = None,
        transcript: TranscriptSettings | None = None,
        lora: LoraSettings | None = None,
        revision: str | None = None,
        dtype: torch.dtype = torch.float32,
        quantized: Quantized | None = None,
        device_map: DeviceMap | None = None,
        seed: int = 0,
    ) -> MultimodalLM:
        """A base LLM with a fresh adapter and fresh projectors, ready for training.

        Without a `transcript` turns are written as the tokenizer's chat template has them, if it has one.
        `seed` decides the fresh weights; the global random state is left as it was.

        Raises:
            ModelNotFound: nothing lies at `base`.
            ModelError: the base cannot learn new tokens.
            SettingsError: the turn scheme does not fit the tokenizer, or what quantising needs is missing.
        """
        from peft import LoraConfig, get_peft_model

        llm, tokenizer = load_base(
            base, revision=revision, dtype=dtype, quantized=quantized, device_map=device_map
        )
        if transcript is None:
            transcript = scheme_of(tokenizer) if tokenizer.chat_template else TranscriptSettings()
        config = LanguageConfig(
            base="" if Path(base).is_dir() else str(base),
            revision=revision,
            embedding_dim=embedding_dim,
            projector=projector or ProjectorSettings(),
            transcript=transcript,
        )
        lora = lora or LoraSettings()
        with torch.random.fork_rng(devices=[]), quiet():
            torch.manual_seed(seed)
            tokens = add_markers(llm, tokenizer, config.transcript.markers)
            table = llm.get_input_embeddings().weight.detach()
            projectors = Projectors(
                config.projector,
                embedding_dim,
                table.shape[1],
                embedding_rms=float(table.float().pow(2).mean().sqrt()),
            )
            peft = get_peft_model(
                llm,
                LoraConfig(
                    task_type="CAUSAL_LM",
                    r=lora.r,
                    lora_alpha=lora.alpha,
                    lora_dropout=lora.dropout,
                    target_modules=lora.target_modules
                    if isinstance(lora.target_modules, str)
                    else list(lora.target_modules),
                    trainable_token_indices=dict.fromkeys(table_names(llm), tokens),
                ),
            )
        return cls(peft, tokenizer, projectors, config)

    @classmethod
    def from_pretrained(
        cls,
        base: str | Path,
        adapter: str | Path,
        *,
        revision: str | None = None,
        dtype: torch.dtype = torch.float32,
        trainable: bool = False,
        merge: bool | None = None,
        quantized: Quantized | None = None,
        device_map: DeviceMap | None = None,
    ) -> MultimodalLM:
        """Load a base and what was trained on it.

        `merge` folds the adapter into the base's weights, which decodes faster; it is the default except
        where `trainable`, and where the base is `quantized`, which it would be rounded away in.

        Raises:
            ModelNotFound: nothing lies at `base` or `adapter`.
            CheckpointError: the files there do not fit each other.
            SettingsError: the base is to be quantised, and what that needs is not installed.
        """
        merge = not trainable and quantized is None if merge is None else merge
        llm, tokenizer, projectors, config = load_parts(
            base,
            Path(adapter),
            revision=revision,
            dtype=dtype,
            trainable=trainable,
            quantized=quantized,
            device_map=device_map,
        )
        if merge and not config.merged:
            llm = llm.merge_and_unload()
        model = cls(llm, tokenizer, projectors, config)
        if not trainable:
            model.requires_grad_(False).eval()
        return model

    def save_pretrained(self, folder: str | Path, *, dtype: torch.dtype | None = None) -> None:
        """Write what was trained: peft's adapter, projectors.safetensors, config.json and the tokenizer.

        Raises:
            ModelError: the adapter was merged into the base, so that it cannot be written apart.
            StorageError: the folder cannot be written.
        """
        if not hasattr(self.llm, "peft_config") and not self.config.merged:
            raise ModelError(
                "This LLM has no adapter of its own any more: it was merged into the base",
                hint="Load it with merge=False to save it again.",
            )
        save_parts(self.llm, self.tokenizer, self.projectors, self.config, Path(folder), dtype=dtype)

    @contextmanager
    def without_adapter(self) -> Iterator[None]:
        """The base alone, with the projectors, for as long as the block lasts."""
        if not hasattr(self.llm, "disable_adapter"):
            raise ModelError("The adapter was merged into the base", hint="Load the model with merge=False.")
        with self.llm.disable_adapter():
            yield

    # ------------------------------------------------------------------------------------ training

    def part_of(self, parameter_name: str) -> str:
        """Which of PARTS a parameter belongs to, by its name in `named_parameters()`."""
        if parameter_name.startswith("projectors."):
            return "projectors"
        if "trainable_tokens" in parameter_name:
            return "tokens"
        return "lora" if ".lora_" in parameter_name else "base"

    def parts(self) -> list[PartSize]:
        """What trains and what is frozen, part by part."""
        totals = {part: [0, 0] for part in PARTS}
        for name, parameter in self.named_parameters():
            total = totals[self.part_of(name)]
            # bitsandbytes packs two numbers into a byte, and keeps the shape that they had.
            count = math.prod(getattr(getattr(parameter, "quant_state", None), "shape", parameter.shape))
            total[0] += count
            total[1] += count * parameter.requires_grad
        return [PartSize(part, *numbers) for part, numbers in totals.items()]

    def collate(self, examples: Sequence[Example]) -> Batch:
        return collate(examples, k=self.config.projector.k, dim=self.config.embedding_dim)

    def embed(self, batch: Batch | Mapping[str, torch.Tensor]) -> torch.Tensor:
        """Input embeddings (b, s, h) with the projected media in their places."""
        inputs: torch.Tensor = self.core.get_input_embeddings()(batch["input_ids"])
        features, slots = batch["features"], batch["slots"]
        offsets = torch.arange(self.config.projector.k, device=inputs.device)
        for index, modality in enumerate(MODALITIES):
            # An empty batch of a modality goes through its projector as well: its gradients are zeros
            # then and not missing, which data-parallel training would wait for.
            chosen = slots[:, 2] == index
            if modality not in self.projectors.modalities and not chosen.any():
                continue
            projected = self.projectors(modality, features[chosen])
            rows, starts = slots[chosen, 0], slots[chosen, 1]
            inputs = inputs.index_put((rows[:, None], starts[:, None] + offsets), projected.to(inputs.dtype))
        return inputs

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        labels: torch.Tensor,
        features: torch.Tensor,
        slots: torch.Tensor,
        num_items_in_batch: torch.Tensor | int | None = None,
        return_logits: bool = True,
        **_: Any,
    ) -> CausalLMOutput:
        """Logits (b, s, vocabulary) and the mean cross-entropy of the sampled tokens.

        `num_items_in_batch` is the number of sampled tokens over all micro-batches of one step, so that
        gradient accumulation weighs every token alike. Without `return_logits` the output layer sees only
        the positions that carry loss, which saves time and, with a large vocabulary, most of the memory.
        """
        from transformers.modeling_outputs import CausalLMOutput

        inputs = self.embed({"input_ids": input_ids, "features": features, "slots": slots})
        targets = labels[:, 1:]
        wanted = targets != IGNORED
        chosen = nullcontext() if return_logits else self._output_only_at(F.pad(wanted, (0, 1)))
        with chosen:
            logits = self.core(inputs_embeds=inputs, attention_mask=attention_mask, use_cache=False).logits
        predictions = logits[:, :-1][wanted] if return_logits else logits
        losses = F.cross_entropy(predictions.float(), targets[wanted], reduction="sum")
        count = wanted.sum().clamp(min=1) if num_items_in_batch is None else num_items_in_batch
        return CausalLMOutput(loss=losses / count, logits=logits if return_logits else None)

    @contextmanager
    def _output_only_at(self, positions: torch.Tensor) -> Iterator[None]:
        """Give the output layer the hidden states at `positions` (b, s) alone: logits are (n, vocabulary)."""

        def choose(_: nn.Module, inputs: tuple[torch.Tensor]) -> tuple[torch.Tensor]:
            return (inputs[0][positions],)

        hook = self.core.get_output_embeddings().register_forward_pre_hook(choose)
        try:
            yield
        finally:
            hook.remove()

    # ----------------------------------------------------------------------------------- inference

    def transcript(self, *, seed: int, sampling: Sampling) -> CachedTranscript:
        """An empty transcript. Any number of them may live side by side; use one at a time."""
        return CachedTranscript(self, seed=seed, sampling=sampling)
