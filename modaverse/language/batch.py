"""Several transcripts as one padded batch: what training and full re-runs feed to the LLM.

Shapes: b rows, s positions of the longest row, n media in all rows together, d width of an embedding.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypedDict

import torch

from modaverse.context import Modality
from modaverse.errors import DataError
from modaverse.language.prompt import Slot, Span, Tokens

IGNORED = -100
"""Label of a position without loss: everything given or spliced, and padding."""

MODALITIES = tuple(Modality)
"""The order in which `Batch["slots"]` counts modalities."""


class Batch(TypedDict):
    """Tensors of one batch; plain names and values, so that any trainer can move it between devices."""

    input_ids: torch.Tensor  # (b, s) int64; 0 where a medium stands
    attention_mask: torch.Tensor  # (b, s) int64; 0 where a row is padded, at its end
    labels: torch.Tensor  # (b, s) int64; IGNORED except for sampled tokens
    features: torch.Tensor  # (n, d) float32: embeddings as the encoder gave them
    slots: torch.Tensor  # (n, 3) int64: row, first position, index in MODALITIES


@dataclass(frozen=True, slots=True)
class Example:
    """One transcript and the embeddings (d,) of its media, by number."""

    spans: Sequence[Span]
    features: Mapping[int, torch.Tensor]


def length(spans: Sequence[Span], k: int) -> int:
    """Positions that a transcript takes."""
    return sum(len(span.ids) if isinstance(span, Tokens) else k for span in spans)


def collate(examples: Sequence[Example], *, k: int, dim: int) -> Batch:
    """Pad transcripts to the longest one and find the places of their media.

    Raises:
        DataError: a medium has no embedding, or one of the wrong width.
    """
    longest = max(length(example.spans, k) for example in examples)
    shape = (len(examples), longest)
    input_ids = torch.zeros(shape, dtype=torch.int64)
    labels = torch.full(shape, IGNORED, dtype=torch.int64)
    attention_mask = torch.zeros(shape, dtype=torch.int64)
    features: list[torch.Tensor] = []
    slots: list[tuple[int, int, int]] = []
    for row, example in enumerate(examples):
        start = 0
        for span in example.spans:
            if isinstance(span, Slot):
                features.append(_feature(example, span, dim))
                slots.append((row, start, MODALITIES.index(span.modality)))
                start += k
                continue
            ids = torch.tensor(span.ids, dtype=torch.int64)
            input_ids[row, start : start + len(ids)] = ids
            if span.sampled:
                labels[row, start : start + len(ids)] = ids
            start += len(ids)
        attention_mask[row, :start] = 1
    return Batch(
        input_ids=input_ids,
        attention_mask=attention_mask,
        labels=labels,
        features=torch.stack(features) if features else torch.zeros(0, dim),
        slots=torch.tensor(slots, dtype=torch.int64).reshape(-1, 3),
    )


def _feature(example: Example, slot: Slot, dim: int) -> torch.Tensor:
    feature = example.features.get(slot.number)
    if feature is None:
        raise DataError(
            f"Medium {slot.number} of a transcript has no embedding",
            hint="Give the embedding of every medium that the transcript holds.",
        )
    if feature.shape != (dim,):
        raise DataError(
            f"The embedding of medium {slot.number} has shape {tuple(feature.shape)} and not ({dim},)",
            hint="Use the encoder that the projectors were made for.",
        )
    return feature.float()
