"""Rows that measure an autoencoder by itself: what the judge still sees after encoding and decoding.

No transformer can make what its decoder cannot show, so this comes before training one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from modaverse.context import Modality
from modaverse.interfaces import Decoded, Frames, Pixels, Waveform
from modaverse.toybox.evaluation.alone import agreement, held_out_renders
from modaverse.toybox.evaluation.making import BATCH
from modaverse.toybox.evaluation.parts import Parts
from modaverse.toybox.evaluation.row import Bar, Case, Outcome, Row
from modaverse.toybox.evaluation.seeing import shown
from modaverse.toybox.evaluation.specimens import as_kept, given, make
from modaverse.toybox.judge import QUESTIONS
from modaverse.toybox.recipes.audio import to_sounds
from modaverse.toybox.recipes.image import to_pixels
from modaverse.toybox.recipes.video import to_clips
from modaverse.toybox.wordings.wishes import wish_for

ENOUGH = 0.98
_PLURAL = {Modality.IMAGE: "pictures", Modality.VIDEO: "clips", Modality.AUDIO: "sounds"}


def reconstruction_row(modality: Modality) -> Row:
    """Held-out renders → autoencoder, there and back → judge."""
    return Row(
        name=f"autoencoder-{modality}",
        title=f"the autoencoder of {_PLURAL[modality]}, held-out renders there and back",
        needs=(f"autoencoder-{modality}", f"judge-{modality}"),
        bars=tuple(Bar(name, name, at_least=ENOUGH) for name in QUESTIONS[modality]),
        count=200,
        cases=partial(held_out_renders, "autoencoder", 800_000, modality),
        run=partial(_run, modality),
        chunk=BATCH[modality],
    )


def _run(modality: Modality, parts: Parts, cases: Sequence[Case]) -> list[Outcome]:
    renders = [make(specimen) for case in cases for specimen in given(case.parts)]
    made = there_and_back(parts.autoencoder(modality), renders)
    verdicts = parts.judge([as_kept(one) for one in made])
    return [
        Outcome(case.id, marks=agreement(wish_for(case.scene), verdict), facts={"seen": shown(verdict)})
        for case, verdict in zip(cases, verdicts, strict=True)
        if case.scene is not None
    ]


@torch.inference_mode()
def there_and_back(autoencoder: Any, media: Sequence[Decoded]) -> list[Decoded]:
    """Media of one kind after encoding (without noise) and decoding.

    `autoencoder` is that of one of mini's pipelines.
    """
    (modality,) = {medium.modality for medium in media}
    made: list[Decoded] = _THERE_AND_BACK[modality](autoencoder, media)
    return made


def _pictures(autoencoder: Any, media: Sequence[Decoded]) -> list[Decoded]:
    pixels = to_pixels(np.stack([medium.array for medium in media]))
    made = autoencoder.decode(autoencoder.encode(pixels).latent_dist.mode()).sample
    return [Pixels(_levels(picture.permute(1, 2, 0))) for picture in made]


def _clips(autoencoder: Any, media: Sequence[Decoded]) -> list[Decoded]:
    clips = to_clips(np.stack([medium.array for medium in media]))
    made = autoencoder.decode(autoencoder.encode(clips).latent_dist.mode()).sample
    rates = [medium.fps for medium in media if isinstance(medium, Frames)]
    return [Frames(_levels(clip.permute(1, 2, 3, 0)), fps) for clip, fps in zip(made, rates, strict=True)]


def _sounds(autoencoder: Any, media: Sequence[Decoded]) -> list[Decoded]:
    samples = np.stack([medium.array[:, 0] for medium in media])
    sounds = to_sounds((samples * 32767).round())
    made = autoencoder.decode(autoencoder.encode(sounds[:, None]).latents).sample[..., : sounds.shape[-1]]
    rates = [medium.sample_rate for medium in media if isinstance(medium, Waveform)]
    return [
        Waveform(sound.clamp(-1, 1).T.contiguous().numpy(), rate)
        for sound, rate in zip(made, rates, strict=True)
    ]


_THERE_AND_BACK: Mapping[Modality, Callable[[Any, Sequence[Decoded]], list[Decoded]]] = {
    Modality.IMAGE: _pictures,
    Modality.VIDEO: _clips,
    Modality.AUDIO: _sounds,
}


def _levels(values: Tensor) -> np.ndarray:
    """[-1, 1] → 0 to 255."""
    levels: np.ndarray = ((values.clamp(-1, 1) + 1) * 127.5).round().byte().contiguous().numpy()
    return levels
