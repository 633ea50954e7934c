"""Projectors: from one embedding of the encoder to `k` input embeddings of the LLM.

Shapes: b media, d width of the encoder's embeddings, k input embeddings a medium, h hidden size of the LLM.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import nn
from torch.nn import functional as F

from modaverse.context import Modality
from modaverse.errors import InputError
from modaverse.settings import ProjectorSettings

_GELU_RMS = 0.65  # root mean square of gelu(x) for x ~ N(0, 1)


class Projector(nn.Module):
    """One projector (ModaVerse, arXiv 2401.06395, section 3: "I/O alignment" by a linear layer; or an MLP).

    It starts at the size of the LLM's own embeddings, `embedding_rms`, so that the first media look to the
    LLM like tokens it has not met, instead of like noise of another scale.
    """

    def __init__(self, settings: ProjectorSettings, dim: int, hidden: int, *, embedding_rms: float) -> None:
        super().__init__()
        self.settings = settings
        self.hidden = hidden
        # A unit vector has elements of size 1 / sqrt(d): weights of size 1 bring them to unit size.
        input_std = 1.0 if settings.normalise else 1 / math.sqrt(dim)
        if settings.kind == "linear":
            self.input = nn.Linear(dim, settings.k * hidden)
            self.output = None
            _initialise(self.input, std=input_std * embedding_rms)
        else:
            width = settings.width or hidden
            self.input = nn.Linear(dim, width)
            self.output = nn.Linear(width, settings.k * hidden)
            _initialise(self.input, std=input_std)
            _initialise(self.output, std=embedding_rms / (_GELU_RMS * math.sqrt(width)))

    def forward(self, embeddings: torch.Tensor) -> torch.Tensor:
        """(b, d) as the encoder gave it → (b, k, h)."""
        if self.settings.normalise:
            embeddings = F.normalize(embeddings, dim=-1)
        projected = self.input(embeddings.to(self.input.weight.dtype))
        if self.output is not None:
            projected = self.output(F.gelu(projected))
        return projected.unflatten(-1, (self.settings.k, self.hidden))  # type: ignore[no-any-return]


def _initialise(layer: nn.Linear, std: float) -> None:
    nn.init.normal_(layer.weight, std=std)
    nn.init.zeros_(layer.bias)


class Projectors(nn.Module):
    """One projector for each of `modalities`, or one for all of them where `settings.shared`."""

    def __init__(
        self,
        settings: ProjectorSettings,
        dim: int,
        hidden: int,
        *,
        embedding_rms: float = 0.02,
        modalities: Iterable[Modality] = tuple(Modality),
    ) -> None:
        super().__init__()
        self.settings = settings
        self.dim = dim
        self.modalities = tuple(modalities)
        names = ("shared",) if settings.shared and self.modalities else self.modalities
        self.projectors = nn.ModuleDict(
            {str(name): Projector(settings, dim, hidden, embedding_rms=embedding_rms) for name in names}
        )

    def forward(self, modality: Modality, embeddings: torch.Tensor) -> torch.Tensor:
        """(b, d) of one modality → (b, k, h).

        Raises:
            InputError: there is no projector for it.
        """
        if modality not in self.modalities:
            raise InputError(
                f"This LLM cannot read {modality}: it has no projector that was trained for it",
                hint="Ask in words alone, or train projectors with modaverse train.",
            )
        name = "shared" if self.settings.shared else str(modality)
        return self.projectors[name](embeddings)  # type: ignore[no-any-return]
