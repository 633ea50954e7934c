"""The judge: small networks that say what a picture, a clip or a sound shows.

Evaluation alone uses it. It is trained apart, on renders of its own and on spoilt ones (class "none"), and no
other training ever sees it, neither its weights nor its gradients.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from modaverse.context import Modality
from modaverse.errors import CheckpointError, ModelNotFound
from modaverse.interfaces import Decoded, Frames, Pixels, Waveform
from modaverse.toybox.wordings.wishes import ATTRIBUTES_OF, VALUES
from modaverse.toybox.world import THINGS

NONE = "none"
SIDE = 64
FRAMES = (0.0, 0.25, 0.5, 0.75, 1.0)  # the places in a clip that the judge looks at
SAMPLE_RATE = 16_000
SAMPLES = 2 * SAMPLE_RATE

QUESTIONS: Mapping[Modality, Mapping[str, tuple[str, ...]]] = {
    modality: {"thing": (*THINGS, NONE), **{name: VALUES[name] for name in names}}
    for modality, names in ATTRIBUTES_OF.items()
}


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the judge sees or hears; attributes that a medium of this kind does not have are None."""

    thing: str
    colour: str | None = None
    size: str | None = None
    backdrop: str | None = None
    direction: str | None = None
    speed: str | None = None
    pitch: str | None = None
    pace: str | None = None


class _Block(nn.Module):
    """Residual block of two 3×3 convolutions; the first one may halve the resolution."""

    def __init__(self, width_in: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width_in, width, 3, stride, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(width)
        self.skip = nn.Conv2d(width_in, width, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.norm1(self.conv1(x)))
        y = self.norm2(self.conv2(y))
        return F.relu(y + self.skip(x))


class JudgeNet(nn.Module):
    """Convolutions over (b, channels, h, w), mean and maximum over places, one linear answer a question."""

    def __init__(self, channels: int, questions: Mapping[str, Sequence[str]]) -> None:
        super().__init__()
        widths = (24, 48, 72, 96)
        self.stem = nn.Sequential(
            nn.Conv2d(channels, widths[0], 3, 2, 1, bias=False), nn.BatchNorm2d(widths[0]), nn.ReLU()
        )
        self.blocks = nn.Sequential(*(_Block(a, b, 2) for a, b in pairwise(widths)), _Block(96, 96, 1))
        self.answers = nn.ModuleDict({q: nn.Linear(2 * widths[-1], len(a)) for q, a in questions.items()})

    def features(self, x: Tensor) -> Tensor:
        """(b, channels, h, w) → (b, 192)"""
        y = self.blocks(self.stem(x))
        return torch.cat([y.mean((2, 3)), y.amax((2, 3))], 1)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """(b, channels, h, w) → logits (b, answers) for each question."""
        features = F.dropout(self.features(x), 0.1, self.training)
        return {question: answer(features) for question, answer in self.answers.items()}


class Judge:
    """Three networks, one for each modality.

    >>> judge = Judge.from_pretrained(folder)
    >>> judge([pixels, waveform])[0].thing
    """

    def __init__(self, nets: Mapping[Modality, JudgeNet]) -> None:
        self.nets = {modality: net.eval() for modality, net in nets.items()}

    @classmethod
    def from_pretrained(cls, folder: Path, *, modalities: Iterable[Modality] = tuple(QUESTIONS)) -> Judge:
        """The judge of all modalities, or of some.

        Raises:
            ModelNotFound: no judge lies in `folder`.
            CheckpointError: its weights do not fit.
        """
        nets = {}
        for modality in modalities:
            path = folder / f"{modality}.safetensors"
            if not path.exists():
                raise ModelNotFound(
                    f"{path}: the judge is not there", hint="train it with `modaverse toybox train judge`"
                )
            net = new_net(modality)
            try:
                net.load_state_dict({k: v.float() for k, v in load_file(path).items()})
            except Exception as error:
                raise CheckpointError(f"{path}: {error}", hint="train the judge anew") from error
            nets[modality] = net
        return cls(nets)

    def save_net(self, folder: Path, modality: Modality) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        weights = {
            k: (v.half() if v.is_floating_point() else v).contiguous()
            for k, v in self.nets[modality].state_dict().items()
        }
        save_file(weights, folder / f"{modality}.safetensors")
        (folder / "questions.json").write_text(
            json.dumps({m: dict(q) for m, q in QUESTIONS.items()}, indent=1)
        )

    @torch.inference_mode()
    def __call__(self, media: Sequence[Decoded]) -> list[Verdict]:
        """One verdict a medium, in order."""
        verdicts: dict[int, Verdict] = {}
        for modality, places in _by_modality(media).items():
            for start in range(0, len(places), 64):
                some = places[start : start + 64]
                answers = self.nets[modality](network_input([media[i] for i in some]))
                chosen = {q: logits.argmax(1).tolist() for q, logits in answers.items()}
                for row, place in enumerate(some):
                    verdicts[place] = Verdict(
                        **{q: QUESTIONS[modality][q][index[row]] for q, index in chosen.items()}
                    )
        return [verdicts[i] for i in range(len(media))]

    @torch.inference_mode()
    def features(self, media: Sequence[Decoded]) -> Tensor:
        """(len(media), 192): what the networks see, for distances between media of one kind."""
        (modality,) = {m.modality for m in media}
        chunks = [network_input(media[i : i + 64]) for i in range(0, len(media), 64)]
        return torch.cat([self.nets[modality].features(chunk) for chunk in chunks])


def new_net(modality: Modality) -> JudgeNet:
    channels = {Modality.IMAGE: 3, Modality.VIDEO: 3 * len(FRAMES), Modality.AUDIO: 1}[modality]
    return JudgeNet(channels, QUESTIONS[modality])


def _by_modality(media: Sequence[Decoded]) -> dict[Modality, list[int]]:
    places: dict[Modality, list[int]] = {}
    for index, medium in enumerate(media):
        places.setdefault(medium.modality, []).append(index)
    return places


def network_input(media: Sequence[Decoded]) -> Tensor:
    """Media of one kind → (b, channels, h, w), float32."""
    rows = []
    for medium in media:
        match medium:
            case Pixels(array):
                rows.append(picture_input(torch.from_numpy(np.array(array[None])))[0])
            case Frames(array, _):
                rows.append(clip_input(torch.from_numpy(np.array(array[None])))[0])
            case Waveform(array, rate):
                rows.append(sound_input(torch.from_numpy(_mono_16k(array, rate)[None]))[0])
    return torch.stack(rows)


def picture_input(pictures: Tensor) -> Tensor:
    """(b, h, w, 3) uint8 → (b, 3, 64, 64) in [-1, 1]."""
    x = pictures.permute(0, 3, 1, 2).float() / 127.5 - 1
    return x if x.shape[-2:] == (SIDE, SIDE) else F.interpolate(x, (SIDE, SIDE), mode="area")


def clip_input(clips: Tensor) -> Tensor:
    """(b, frames, h, w, 3) uint8 → (b, 15, 64, 64): five frames side by side as channels."""
    last = clips.shape[1] - 1
    frames = [picture_input(clips[:, round(place * last)]) for place in FRAMES]
    return torch.cat(frames, 1)


def sound_input(sounds: Tensor) -> Tensor:
    """(b, 32000) float32 at 16 kHz → (b, 1, 64, 201): log mel energies, normalised by loudness."""
    sounds = sounds / sounds.abs().amax(1, keepdim=True).clamp_min(1e-3)
    spectrum = torch.stft(
        sounds, 512, 160, window=torch.hann_window(512, device=sounds.device), return_complex=True
    )
    mel = torch.einsum("mf,bft->bmt", _mel_filters(64, 257), spectrum.abs().square())
    return ((mel + 1e-4).log()[:, None] + 2) / 4


def _mel_filters(bands: int, bins: int) -> Tensor:
    """(bands, bins): triangles on the mel scale between 40 Hz and 8 kHz."""

    def mel(hertz: float) -> float:
        return float(2595 * np.log10(1 + hertz / 700))

    edges = 700 * (10 ** (np.linspace(mel(40), mel(8000), bands + 2) / 2595) - 1)
    frequencies = np.linspace(0, SAMPLE_RATE / 2, bins)
    rising = (frequencies - edges[:-2, None]) / (edges[1:-1] - edges[:-2])[:, None]
    falling = (edges[2:, None] - frequencies) / (edges[2:] - edges[1:-1])[:, None]
    return torch.from_numpy(np.clip(np.minimum(rising, falling), 0, None)).float()


def _mono_16k(array: np.ndarray, rate: int) -> np.ndarray:
    """(samples, channels) → (32000,): the first two seconds, padded with silence."""
    mono = array.mean(1).astype(np.float32)
    if rate != SAMPLE_RATE:
        import soxr

        mono = soxr.resample(mono, rate, SAMPLE_RATE).astype(np.float32)
    return np.pad(mono[:SAMPLES], (0, max(0, SAMPLES - len(mono))))
