"""What a training run is told: one typed class, checked when it is built."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, ValidationError, model_validator

from modaverse.errors import SettingsError
from modaverse.settings import LoraSettings, ProjectorSettings, Quantized, Settings, TranscriptSettings

Part = Literal["projectors", "lora", "tokens"]

PARTS: tuple[Part, ...] = ("projectors", "lora", "tokens")
"""What can train: the projectors, the adapter, the rows of the new tokens."""


class LearningRates(Settings):
    """Peak learning rate of each part."""

    projectors: float = Field(default=1e-3, gt=0)
    """Of the projectors, which begin at random weights."""
    lora: float = Field(default=2e-4, gt=0)
    """Of the adapter's matrices."""
    tokens: float = Field(default=1e-3, gt=0)
    """Of the rows of the new tokens in the input and the output table."""


class TrainSettings(Settings):
    """A whole training run. Two runs with equal settings and data have equal losses."""

    # ------------------------------------------------------------------------------ what is trained

    data: tuple[Path, ...] = Field(min_length=1)
    """Files of rows (.jsonl), or folders of such files."""
    llm: str
    """Folder or repository of the base LLM."""
    revision: str | None = None
    """Commit of the base's repository."""
    encoder: Path
    """Folder of the encoder."""
    adapter: Path | None = None
    """A trained adapter to go on from, instead of fresh weights; its own settings count then."""
    projector: ProjectorSettings = ProjectorSettings()
    """The projectors."""
    transcript: TranscriptSettings = TranscriptSettings()
    """How turns, media and calls stand in the transcript; as the LLM's chat template has its turns, if it has
    one, where nothing is set."""
    lora: LoraSettings = LoraSettings()
    """The adapter."""

    # ---------------------------------------------------------------------------- how long, how fast

    epochs: float | None = Field(default=None, gt=0)
    """Passes over the data; 1 where neither this nor `steps` is given."""
    steps: int | None = Field(default=None, ge=1)
    """Optimiser steps, instead of `epochs`."""
    projectors_first: float = Field(default=0.0, ge=0)
    """Passes over the data before those, in which the projectors train alone (two-stage recipe)."""
    learning_rates: LearningRates = LearningRates()
    """Peak learning rates."""
    warmup: float = Field(default=0.03, ge=0, lt=1)
    """Share of the steps in which the learning rates rise from 0."""
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    """How they fall afterwards."""
    final_rate: float = Field(default=0.05, ge=0, le=1)
    """Where they end, as a share of the peak."""
    weight_decay: float = Field(default=0.0, ge=0)
    """Decoupled weight decay of matrices."""
    beta2: float = Field(default=0.99, gt=0, lt=1)
    """Adam's second decay."""
    clip: float = Field(default=1.0, gt=0)
    """Greatest norm of the gradients."""

    # -------------------------------------------------------------------------------------- batches

    batch_size: int | None = Field(default=None, ge=1)
    """Rows a batch and process; 16 where neither this nor `batch_tokens` is given."""
    batch_tokens: int | None = Field(default=None, ge=1)
    """Positions a batch and process, padding included, instead of `batch_size`."""
    accumulation: int = Field(default=1, ge=1)
    """Batches a process puts into one step."""
    length_window: int = Field(default=8, ge=1)
    """Rows are sorted by length within this many random batches, which saves padding; 1 sorts nothing."""
    max_length: int | None = Field(default=None, ge=8)
    """Positions a row may have; those of the LLM's context where nothing is given."""
    long_rows: Literal["refuse", "skip"] = "refuse"
    """What to do with a longer row: end with its name, or leave it out and count it."""
    workers: int = Field(default=0, ge=0)
    """Processes that put batches together; 0 does it between the steps."""

    # ------------------------------------------------------------------------------------- computing

    precision: Literal["float32", "bfloat16"] = "bfloat16"
    """Of matrix products (autocast). What trains is kept in float32."""
    llm_dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    """In which the frozen LLM is kept in memory."""
    llm_quantized: Quantized | None = None
    """Keep the matrices of its layers in `int8` or `int4` (QLoRA); needs the extra `quantized`."""
    attention: Literal["auto", "sdpa", "eager", "flash_attention_2"] = "auto"
    """Attention of the LLM; `auto` is `eager` on a CPU, where it is the faster one for rows of a few hundred
    positions, and otherwise the LLM's own choice."""
    checkpointing: bool = False
    """Compute activations a second time in the backward pass, to save memory."""
    seed: int = Field(default=0, ge=0)
    """Decides fresh weights, the order of rows, and dropout."""
    feature_cache: Path | None = None
    """Folder that keeps the encoder's features between runs; the user's cache where nothing is given."""

    # ---------------------------------------------------------------------------------------- cadence

    log_every: int = Field(default=10, ge=1)
    """Steps between entries of the log."""
    save_every: int = Field(default=500, ge=1)
    """Steps between checkpoints."""
    keep_checkpoints: int = Field(default=2, ge=1)
    """How many of them are kept."""
    eval_every: int = Field(default=500, ge=1)
    """Steps between evaluations, where rows are held out for them."""
    eval_data: tuple[Path, ...] = ()
    """Files or folders of rows to evaluate on."""
    hold_out: int = Field(default=0, ge=0)
    """Random rows of `data` that are not trained on and evaluated on as well."""
    tensorboard: bool = False
    """Write the log for TensorBoard as well."""
    export_dtype: Literal["float32", "float16"] = "float32"
    """In which the result is written."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.epochs is not None and self.steps is not None:
            raise ValueError("epochs and steps exclude each other")
        if self.batch_size is not None and self.batch_tokens is not None:
            raise ValueError("batch_size and batch_tokens exclude each other")
        return self

    @classmethod
    def parse(cls, values: object) -> Self:
        """Settings from plain values (a TOML file, options of a command).

        Raises:
            SettingsError: which setting is wrong, and why.
        """
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            first = error.errors()[0]
            name = ".".join(map(str, first["loc"]))
            reason = first["msg"].removeprefix("Value error, ")
            raise SettingsError(
                f"Training settings: {f'{name}: ' if name else ''}{reason}",
                hint="`modaverse train --help` lists the settings and what they admit.",
            ) from error


RUN_ON = frozenset(
    {
        "workers",
        "feature_cache",
        "log_every",
        "save_every",
        "keep_checkpoints",
        "eval_every",
        "tensorboard",
        "export_dtype",
    }
)
"""Settings that may change when a run is resumed: they do not touch the losses."""
