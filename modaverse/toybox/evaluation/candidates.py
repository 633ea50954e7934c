"""What `candidates = 4` gains: of four pictures of one caption, the one that the encoder finds nearest to it.

Each request is drawn once as it is without candidates, and three times more. Its first picture is the one
that `candidates = 1` gives, so that the two sides are a pair: the interval is that of the bootstrap over
pairs.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from modaverse.context import Modality
from modaverse.embeddings import Embeddings
from modaverse.media import decode, write_media
from modaverse.ordering import candidate_seed
from modaverse.toybox.evaluation.alone import agreement, random_scene_of, sampler
from modaverse.toybox.evaluation.making import BATCH
from modaverse.toybox.evaluation.parts import Parts
from modaverse.toybox.evaluation.row import Bar, Case, Outcome, Row, share
from modaverse.toybox.evaluation.seeing import shown
from modaverse.toybox.evaluation.statistics import Estimate, ratio
from modaverse.toybox.wordings.captions import plain_caption
from modaverse.toybox.wordings.wishes import wish_for

COUNT = 4
FEWER = 2 / 3
"""Of the errors of one picture, what may be left."""

_FIRST = 800_000


def candidates_row() -> Row:
    """Captions of whole scenes, every second one held out; wrong is what misses any attribute."""
    return Row(
        name="candidates",
        title=f"the best of {COUNT} pictures by the encoder",
        needs=("image", "encoder", "judge-image"),
        bars=(
            Bar("ratio", f"errors with {COUNT}, against 1", at_most=FEWER, unit="×"),
            Bar("one", "right with 1"),
            Bar("best", f"right with {COUNT}"),
            Bar("any", f"at least one of {COUNT} right"),
        ),
        count=1000,
        cases=_cases,
        run=_run,
        chunk=BATCH[Modality.IMAGE] // COUNT,
        summarise=summarise,
    )


def _cases(count: int, seed: int) -> list[Case]:
    rng = random.Random(f"candidates:{seed}")
    scenes = [random_scene_of(Modality.IMAGE, rng, held_out=i % 2 == 1) for i in range(count)]
    return [Case(f"{i:04d}", _FIRST + i, wishes=(wish_for(scene),)) for i, scene in enumerate(scenes)]


def _run(parts: Parts, cases: Sequence[Case]) -> list[Outcome]:
    captions = [plain_caption(case.wishes[0]) for case in cases]
    seeds = [candidate_seed(case.seed, place) for case in cases for place in range(COUNT)]
    asked = [caption for caption in captions for _ in range(COUNT)]
    made = sampler(parts.generator(Modality.IMAGE), Modality.IMAGE)(asked, seeds)
    files = [write_media(one, parts.media) for one in made]
    verdicts = parts.judge([decode(file) for file in files])
    embeddings = Embeddings(parts.encoder)
    outcomes = []
    for place, (case, caption) in enumerate(zip(cases, captions, strict=True)):
        own = slice(place * COUNT, (place + 1) * COUNT)
        right = [all(agreement(case.wishes[0], verdict).values()) for verdict in verdicts[own]]
        agreements = embeddings.agreement(files[own], caption)
        best = max(range(COUNT), key=agreements.__getitem__)
        marks = {"one": right[0], "best": right[best], "any": any(right)}
        facts = {
            "caption": caption,
            "files": [file.path.name for file in files[own]],
            "agreements": [round(value, 4) for value in agreements],
            "seen": [shown(verdict) for verdict in verdicts[own]],
        }
        outcomes.append(Outcome(case.id, marks, facts=facts))
    return outcomes


def summarise(outcomes: Sequence[Outcome], measure: str) -> Estimate:
    if measure != "ratio":
        return share(outcomes, measure)
    best, one = ([float(not outcome.marks[side]) for outcome in outcomes] for side in ("best", "one"))
    return ratio(best, one)
