"""Stand-ins for mini's parts that know the truth, so that scoring can be tested on real renders."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from pathlib import Path

import pytest
import torch

from modaverse.context import Modality
from modaverse.interfaces import (
    MODELS,
    CallSpec,
    Cancelled,
    Decoded,
    Frames,
    GenerationRequest,
    Pixels,
    Progress,
    Waveform,
)
from modaverse.settings import Profile, load_profile
from modaverse.toybox.evaluation.parts import Parts
from modaverse.toybox.evaluation.specimens import fresh, make
from modaverse.toybox.evaluation.words import wish_of
from modaverse.toybox.judge import Judge, Verdict, new_net
from modaverse.toybox.wordings.wishes import AnyScene, complete


class Seer(Judge):
    """A judge that is told what each medium shows, and sees nothing in all others.

    Its networks are random ones, which is enough for distances.
    """

    def __init__(self) -> None:
        torch.manual_seed(0)
        super().__init__({modality: new_net(modality) for modality in Modality})
        self.truths: list[tuple[Decoded, Verdict]] = []

    def know(self, decoded: Decoded, scene: AnyScene) -> None:
        names = (name for name in scene.__slots__)
        self.truths.append((decoded, Verdict(**{name: getattr(scene, name) for name in names})))

    def __call__(self, media: Sequence[Decoded]) -> list[Verdict]:
        return [self._look(decoded) for decoded in media]

    def _look(self, decoded: Decoded) -> Verdict:
        alike = [(difference(known, decoded), place) for place, (known, _) in enumerate(self.truths)]
        nearest, place = min(alike, default=(math.inf, 0))
        return self.truths[place][1] if nearest < TOLERANCE[type(decoded)] else Verdict("none")


TOLERANCE = {Pixels: 1e-6, Frames: 0.03, Waveform: 1e-4}
"""What writing and reading may change: nothing, H.264, 16 bits."""


def difference(a: Decoded, b: Decoded) -> float:
    """Mean difference, of 1."""
    if a.array.shape != b.array.shape:
        return math.inf
    scale = 1.0 if isinstance(a, Waveform) else 255.0
    return float(abs(a.array.astype(float) - b.array.astype(float)).mean()) / scale


class Draughtsman:
    """A generator that renders what it is asked for, of a seed that its own follows from; `wrong` captions
    are answered with another thing."""

    def __init__(self, modality: Modality, judge: Seer, *, wrong: Iterable[str] = ()) -> None:
        self.spec = CallSpec(MODELS[modality], modality)
        self.modality = modality
        self.judge = judge
        self.wrong = tuple(wrong)
        self.asked: list[GenerationRequest] = []

    def load(self) -> None:
        pass

    def generate(self, request: GenerationRequest, *, progress: Progress, cancelled: Cancelled) -> Decoded:
        import random

        self.asked.append(request)
        prompt = "the sound of a drum" if self.modality is Modality.AUDIO else "a purple drum"
        wish = wish_of(prompt if request.prompt in self.wrong else request.prompt, self.modality)
        assert wish is not None
        scene = complete(wish, random.Random(request.seed), held_out=None)
        decoded = make(fresh(scene, request.seed))
        self.judge.know(decoded, scene)
        return decoded


class FakeParts(Parts):
    """Parts that are there, whatever lies on disk."""

    def __init__(self, folder: Path, *, weights: str = "one") -> None:
        super().__init__(load_profile("mini"), folder)
        self.judge = Seer()
        self.weights = weights
        self.generators = {MODELS[modality]: Draughtsman(modality, self.judge) for modality in Modality}

    def require(self, names: Iterable[str]) -> None:
        pass

    def fingerprint(self, names: Iterable[str]) -> str:
        return f"{self.weights}:{','.join(sorted(names))}"


@pytest.fixture
def empty(tmp_path: Path) -> Profile:
    """A profile whose weights would lie in `tmp_path`."""
    (tmp_path / "profile.toml").write_text(
        """
        name = "empty"
        llm = { path = "llm", adapter = "adapter" }
        encoder = { path = "encoder" }
        generators = { cards = ["mini-image", "mini-video"], root = "." }
        answer = { temperature = 0.5, max_new_tokens = 7, max_calls = 3 }
        """
    )
    return load_profile(tmp_path)


@pytest.fixture
def parts(tmp_path: Path) -> FakeParts:
    return FakeParts(tmp_path / "run")
