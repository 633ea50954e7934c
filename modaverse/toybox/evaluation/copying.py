"""No lookup table: what a generator makes of one caption differs, and is none of the renders it learnt from.

**Spread.** For one caption, the mean distance between samples in the judge's features, summed over captions
and divided by the same for fresh renders of that caption's scene.

**Near-copies.** The distance between two media is the root mean square difference of what the judge reads
(pixels, or log mel energies). A near-copy is a sample whose nearest training render of the same scene is
closer than `CLOSE` times the distance below which only one fresh render in a hundred comes. Toybox's own
renders set the scale, so: fresh renders are hardly ever counted (they would have to be half as far again
from being ordinary), while a training render that went through a blur or an autoencoder is.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import cache, partial
from itertools import combinations

import numpy as np
import torch

from modaverse.context import Modality
from modaverse.interfaces import Decoded, Frames, Pixels, Waveform
from modaverse.toybox.evaluation.alone import random_scene_of, sampler
from modaverse.toybox.evaluation.parts import Parts
from modaverse.toybox.evaluation.row import Bar, Case, Outcome, Row
from modaverse.toybox.evaluation.specimens import as_kept, fresh, make
from modaverse.toybox.evaluation.statistics import Estimate, ratio, total
from modaverse.toybox.judge import SAMPLE_RATE, Judge, network_input
from modaverse.toybox.pictures.clips import FPS
from modaverse.toybox.recipes.renders import COUNTS, training_render, training_scene
from modaverse.toybox.wordings.captions import plain_caption
from modaverse.toybox.wordings.wishes import AnyScene, wish_for

SAMPLES = 10
"""Media of one caption."""

CLOSE = 2 / 3


def copying_row(modality: Modality) -> Row:
    """Scenes of training, since only those can have been learnt by heart."""
    return Row(
        name=f"copying-{modality}",
        title=f"no lookup table, {modality} generator",
        needs=(modality, f"judge-{modality}"),
        bars=(
            Bar("spread", "spread within a caption, against that of renders", at_least=0.7, unit="×"),
            Bar("copies", "near-copies of a training render", at_most=0, unit=""),
        ),
        count=20,
        cases=partial(_cases, modality),
        run=partial(_run, modality),
        chunk=4,
        summarise=summarise,
    )


def _cases(modality: Modality, count: int, seed: int) -> list[Case]:
    rng = random.Random(f"copying:{modality}:{seed}")
    known = renders_of(modality)
    cases: list[Case] = []
    while len(cases) < count:
        scene = random_scene_of(modality, rng, held_out=False)
        if scene in known:
            place = len(cases)
            cases.append(
                Case(f"{place:04d}", 600_000 + SAMPLES * place, wishes=(wish_for(scene),), scene=scene)
            )
    return cases


def _run(modality: Modality, parts: Parts, cases: Sequence[Case]) -> list[Outcome]:
    captions = [plain_caption(case.wishes[0]) for case in cases for _ in range(SAMPLES)]
    seeds = [case.seed + i for case in cases for i in range(SAMPLES)]
    made = sampler(parts.generator(modality), modality)(captions, seeds)
    kept = [as_kept(one) for one in made]
    outcomes = []
    for place, case in enumerate(cases):
        if case.scene is None:
            continue
        samples = kept[place * SAMPLES : (place + 1) * SAMPLES]
        renders = [as_kept(make(fresh(case.scene, case.seed + i))) for i in range(SAMPLES)]
        numbers = compare(parts.judge, samples, renders, training_renders(modality, case.scene))
        outcomes.append(Outcome(case.id, numbers=numbers, facts={"caption": captions[place * SAMPLES]}))
    return outcomes


def compare(
    judge: Judge, samples: Sequence[Decoded], renders: Sequence[Decoded], learnt: Sequence[Decoded]
) -> dict[str, list[float]]:
    """The numbers that `summarise` needs, of media of one scene: spreads of samples and of fresh renders, and
    of each its distance to the nearest render of those that were learnt from."""
    return {
        "spread": [spread(judge, samples)],
        "renders": [spread(judge, renders)],
        "nearest": nearest(samples, learnt),
        "renders_nearest": nearest(renders, learnt),
    }


def spread(judge: Judge, media: Sequence[Decoded]) -> float:
    """Mean distance between two of `media`, in the judge's features."""
    features = judge.features(media)
    pairs = list(combinations(range(len(features)), 2))
    return float(np.mean([torch.dist(features[a], features[b]).item() for a, b in pairs]))


def nearest(media: Sequence[Decoded], learnt: Sequence[Decoded]) -> list[float]:
    """Of each medium its distance to the nearest of `learnt`."""
    a, b = network_input(media).flatten(1), network_input(learnt).flatten(1)
    distances = torch.cdist(a, b, compute_mode="donot_use_mm_for_euclid_dist") / a.shape[1] ** 0.5
    return [round(value, 5) for value in distances.amin(1).tolist()]


def summarise(outcomes: Sequence[Outcome], measure: str) -> Estimate:
    if measure == "spread":
        of_samples = [outcome.numbers["spread"][0] for outcome in outcomes]
        return ratio(of_samples, [outcome.numbers["renders"][0] for outcome in outcomes])
    return copies(
        [d for outcome in outcomes for d in outcome.numbers["nearest"]],
        [d for outcome in outcomes for d in outcome.numbers["renders_nearest"]],
    )


def copies(of_samples: Sequence[float], of_renders: Sequence[float]) -> Estimate:
    """How many samples are nearer to what was learnt from than the threshold that fresh renders set."""
    if not of_renders:
        return total([], 0)
    threshold = CLOSE * float(np.quantile(of_renders, 0.01))
    return total([int(distance < threshold) for distance in of_samples], len(of_samples))


# --------------------------------------------------------------------- what was learnt from


@cache
def renders_of(modality: Modality) -> Mapping[AnyScene, tuple[int, ...]]:
    """The numbers of the training renders of each scene."""
    found: dict[AnyScene, list[int]] = defaultdict(list)
    for index in range(COUNTS[modality]):
        found[training_scene(modality, index)].append(index)
    return {scene: tuple(indices) for scene, indices in found.items()}


def training_renders(modality: Modality, scene: AnyScene) -> list[Decoded]:
    """The renders of `scene` that generators were trained on, made anew."""
    return [_decoded(modality, training_render(modality, index)) for index in renders_of(modality)[scene]]


def _decoded(modality: Modality, array: np.ndarray) -> Decoded:
    match modality:
        case Modality.IMAGE:
            return Pixels(array)
        case Modality.VIDEO:
            return Frames(array, FPS)
        case Modality.AUDIO:
            return Waveform((array.astype(np.float32) / 32767)[:, None], SAMPLE_RATE)
