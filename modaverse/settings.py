"""Typed settings: what a profile may say, with a description for each field, checked when they are built."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class Settings(BaseModel):
    """Base of all settings: frozen, and an unknown name is an error instead of being ignored."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


# ---------------------------------------------------------------------------------- language side


class ProjectorSettings(Settings):
    """How one embedding of the encoder becomes `k` input embeddings of the LLM."""

    kind: Literal["linear", "mlp"] = "mlp"
    """`linear` as in the paper, or `mlp`: two layers with a GELU between them."""
    k: int = Field(default=4, ge=1, le=64)
    """Input embeddings a medium takes in the transcript."""
    normalise: bool = True
    """Scale the encoder's embedding to unit length first; their raw lengths differ by modality."""
    shared: bool = False
    """One projector for all modalities instead of one for each."""
    width: int | None = Field(default=None, ge=1)
    """Width of the middle layer of `mlp`; the LLM's hidden size where nothing is given."""


class TranscriptSettings(Settings):
    """How turns, media and calls stand in the transcript.

    These strings belong to the profile, so control tokens in them count as such; text from outside never
    takes this road.
    """

    start: str = ""
    """What comes before the first turn: a beginning-of-sequence token, a system prompt."""
    user_start: str = "<|user|>"
    """Opens the user's turn."""
    user_end: str = "<|assistant|>"
    """Closes the user's turn and opens the assistant's."""
    assistant_end: str = "<|end|>"
    """Ends an answer. It must be one token: the LLM samples it."""
    between: str = ""
    """What stands between an answer's end and the next user's turn."""
    stop: tuple[str, ...] = ()
    """Further tokens that end an answer when the LLM samples them."""
    meta_open: str = "<meta>"
    """Token that opens a meta-response."""
    meta_close: str = "</meta>"
    """Token that closes a meta-response."""
    media_open: str = "<media>"
    """Token before a medium's embeddings."""
    media_close: str = "</media>"
    """Token after a medium's embeddings."""
    media_label: str = "{number}: "
    """Plain text between `media_open` and the embeddings; `{number}` is the medium's number."""

    @property
    def markers(self) -> tuple[str, str, str, str]:
        """The special tokens that are added to the LLM's tokenizer, in this order."""
        return self.meta_open, self.meta_close, self.media_open, self.media_close


class LoraSettings(Settings):
    """The adapter (LoRA, arXiv 2106.09685). The defaults are the ModaVerse paper's."""

    r: int = Field(default=32, ge=1)
    """Rank of the update of each weight matrix."""
    alpha: float = Field(default=32, gt=0)
    """The update is scaled by alpha / r."""
    dropout: float = Field(default=0.1, ge=0, lt=1)
    """Dropout on the update's input while training."""
    target_modules: tuple[str, ...] | Literal["all-linear"] = ("q_proj", "k_proj", "v_proj", "o_proj")
    """Names of the linear layers that are adapted, or `all-linear` for all but the output layer."""
