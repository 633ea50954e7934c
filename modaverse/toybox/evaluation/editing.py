"""Rows for editing: "make it blue", "make it night", and whether the thing stays what and where it is.

A fresh render is the picture before. The editor gets it with the caption that mini's LLM writes, the plain
one of the whole scene after, which is a held-out one. The render after, of the same random numbers, says
where the thing belongs; `places` finds where it is in what was made.
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from modaverse.errors import DataError, GenerationError, SettingsError
from modaverse.interfaces import Decoded, GenerationRequest, Generator, Pixels
from modaverse.media import decode, write_media
from modaverse.toybox.edits import held_out_edit
from modaverse.toybox.evaluation.alone import agreement
from modaverse.toybox.evaluation.making import Made, run
from modaverse.toybox.evaluation.parts import Parts
from modaverse.toybox.evaluation.places import find_thing
from modaverse.toybox.evaluation.row import Bar, Case, Outcome, Row, share
from modaverse.toybox.evaluation.seeing import shown
from modaverse.toybox.evaluation.specimens import FIRST_SEED, fresh, given, written
from modaverse.toybox.evaluation.statistics import Estimate, ratio
from modaverse.toybox.judge import NONE, Judge
from modaverse.toybox.pictures.render import picture_layers, truth_of
from modaverse.toybox.wordings.captions import plain_caption
from modaverse.toybox.wordings.wishes import wish_for
from modaverse.toybox.world import Scene

MODEL = "TI-to-I"
KEPT = CHANGED = 0.90
MOVED = 0.10
"""How far a thing may move on average, of the picture's width."""

_FIRST = 700_000  # number of the first render


def editing_rows() -> tuple[Row, ...]:
    """One row for each attribute that can be changed. A change of size moves a thing's centre by itself:
    there the place is that of the exact render after, as everywhere, but is only shown.
    """
    return tuple(
        Row(
            name=f"editing-{name}",
            title=f"edit the {name} of a picture",
            needs=("image", "judge-image"),
            bars=(
                Bar("thing", "the thing is kept", at_least=KEPT),
                Bar(name, f"the {name} that was asked for", at_least=CHANGED),
                Bar(
                    "moved",
                    "mean shift of the thing's centre, of the width",
                    at_most=None if name == "size" else MOVED,
                ),
                Bar("all", "all of the scene after"),
                Bar(NONE, "nothing to be seen"),
            ),
            count=200,
            cases=partial(edit_cases, name),
            run=_run,
            chunk=20,
            summarise=summarise,
        )
        for name in ("colour", "backdrop", "size")
    )


def edit_cases(name: str, count: int, seed: int) -> list[Case]:
    rng = random.Random(f"editing:{name}:{seed}")
    cases = []
    for i in range(count):
        edit = held_out_edit(rng, name)
        before = fresh(edit.before, _FIRST + i)
        cases.append(Case(f"{i:04d}", _FIRST + i, (before,), (wish_for(edit.after),), scene=edit.after))
    return cases


def _run(parts: Parts, cases: Sequence[Case]) -> list[Outcome]:
    if MODEL not in parts.generators:
        raise SettingsError(
            f"nothing in the profile {parts.profile.name} answers {MODEL}",
            hint="Add a card with such a call to the profile, or choose other rows.",
        )
    return look_at_edits(parts.generators[MODEL], parts.judge, cases, parts.media)


def look_at_edits(
    editor: Generator,
    judge: Judge,
    cases: Sequence[Case],
    folder: Path,
    *,
    options: Mapping[str, Any] | None = None,
) -> list[Outcome]:
    """What `editor` makes of each case, with these options of its card; files go to `folder`.

    Raises:
        GenerationError: the editor failed.
    """
    captions = [plain_caption(case.wishes[0]) for case in cases]
    with TemporaryDirectory(prefix="modaverse-") as sources:
        requests = [
            GenerationRequest(
                MODEL, caption, case.seed, options or {}, written(given(case.parts)[0], Path(sources))
            )
            for case, caption in zip(cases, captions, strict=True)
        ]
        made = [_there(one) for one in run(editor, requests)]
    files = [write_media(one, folder) for one in made]
    pictures = [decode(file) for file in files]
    outcomes = []
    for case, caption, file, picture, verdict in zip(
        cases, captions, files, pictures, judge(pictures), strict=True
    ):
        right = agreement(case.wishes[0], verdict)
        moved = shift(picture, case)
        marks = {**right, "all": all(right.values()), NONE: verdict.thing == NONE, "moved": moved > MOVED}
        facts = {
            "before": given(case.parts)[0].uri,
            "caption": caption,
            "file": file.path.name,
            "seen": shown(verdict),
        }
        outcomes.append(Outcome(case.id, marks, {"moved": [round(moved, 5)]}, facts))
    return outcomes


def shift(picture: Decoded, case: Case) -> float:
    """How far the thing is from where it is in the exact render after, of the width."""
    if not isinstance(picture, Pixels) or not isinstance(case.scene, Scene):
        raise DataError("only pictures have places", hint="Report this as a bug.")
    width = picture.array.shape[1]
    expected = picture_layers(case.scene, FIRST_SEED + case.seed, size=width)
    moved = math.dist(find_thing(picture, expected), truth_of(expected).centre)
    return moved / float(width)


def summarise(outcomes: Sequence[Outcome], measure: str) -> Estimate:
    if measure != "moved":
        return share(outcomes, measure)
    shifts = [outcome.numbers["moved"][0] for outcome in outcomes]
    return ratio(shifts, [1.0] * len(shifts))


def _there(made: Made) -> Decoded:
    if made is None or isinstance(made, GenerationError):
        raise made or GenerationError(f"{MODEL} made nothing", hint="Report this as a bug.")
    return made
