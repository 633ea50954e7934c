"""Requests to measure with: Toybox's own, of the wordings and combinations that are kept out of training.

`modaverse.toybox.rows` writes a request together with the truth about it. Here those are drawn, one by one
from seeds of their own, until a row of the table has as many as it wants of the kind it wants.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from modaverse.context import Modality
from modaverse.interfaces import MODELS
from modaverse.toybox.evaluation.row import Case
from modaverse.toybox.evaluation.specimens import Specimen, foreign, fresh
from modaverse.toybox.rows import EDITING, sample_row
from modaverse.toybox.rows.chat import EDITORS
from modaverse.toybox.wordings.wishes import OPEN_THINGS, AnyScene, Wish, complete
from modaverse.toybox.world import COLOURS, THINGS
from modaverse.training.rows import MediaPart, TextPart

MODALITY = {
    **{model: modality for modality, model in MODELS.items()},
    **{model: made for (_, made), model in EDITORS.items()},
}
"""What a call of mini's makes."""

_SPACING = 10  # renders that one case may need


@dataclass(frozen=True, slots=True)
class Drawn:
    """A request and its truth. Its media are renders that nothing else has seen."""

    number: int
    intent: str
    parts: tuple[str | Specimen, ...]
    wishes: tuple[Wish, ...]
    calls: tuple[str, ...]
    refuses: bool

    @property
    def given(self) -> tuple[Specimen, ...]:
        return tuple(part for part in self.parts if isinstance(part, Specimen))

    @property
    def scene(self) -> AnyScene | None:
        """What the medium shows, where one is given."""
        return self.given[0].scene if len(self.given) == 1 else None

    def case(self, **changes: Any) -> Case:
        return Case(
            f"{self.number:05d}",
            self.number,
            **{"parts": self.parts, "wishes": self.wishes, "calls": self.calls} | changes,
        )


def draw(mixture: Mapping[str, float], seed: int, number: int) -> Drawn:
    """Request `number` of a mixture of intents (names of `modaverse.toybox.rows.INTENTS`)."""
    rng = random.Random(f"evaluation:{seed}:{number}:{','.join(mixture)}")
    row = sample_row(rng, split="held_out", mixture=mixture, turns=(1.0,), missed=0.0, editing=EDITING)
    truth = row.about["turns"][0]
    parts: list[str | Specimen] = []
    for part in row.turns[0].parts:
        if isinstance(part, TextPart):
            parts.append(part.text)
        elif isinstance(part, MediaPart):
            parts.append(_own(Specimen(part.uri), _SPACING * number + len(parts)))
    wishes = tuple(Wish(MODALITY[call["model"]], **call["wish"]) for call in truth["calls"])
    calls = tuple(call["model"] for call in truth["calls"])
    return Drawn(number, truth["intent"], tuple(parts), wishes, calls, truth.get("refuses", False))


def _own(specimen: Specimen, number: int) -> Specimen:
    scene = specimen.scene
    return foreign(specimen.modality, number) if scene is None else fresh(scene, number)


Accept = Callable[[Drawn], Case | None]
"""The case that a request makes, or None where it is not of the kind that is wanted."""


def drawn(mixture: Mapping[str, float], accept: Accept, count: int, seed: int) -> list[Case]:
    """The first `count` cases that `accept` takes."""
    cases: list[Case] = []
    number = 0
    while len(cases) < count:
        case = accept(draw(mixture, seed, number))
        if case is not None:
            cases.append(case)
        number += 1
    return cases


def cases_of(mixture: Mapping[str, float], accept: Accept) -> Callable[[int, int], list[Case]]:
    """`drawn` as a row wants it: (count, seed) → cases."""
    return partial(drawn, mixture, accept)


# ------------------------------------------------------------------------------- kinds of requests


def calling(request: Drawn) -> Case | None:
    """Anything in the world of which media must come."""
    return request.case(scene=request.scene) if request.wishes and not request.refuses else None


def made_from_words(modality: Modality, says: Sequence[str], request: Drawn) -> Case | None:
    """One medium, described with at least these attributes and a thing."""
    if len(request.wishes) != 1 or request.given:
        return None
    (wish,) = request.wishes
    wanted = wish.modality is modality and wish.thing in THINGS and set(says) <= wish.attributes.keys()
    return request.case(asks=tuple(says)) if wanted else None


def made_from_medium(source: Modality, target: Modality, request: Drawn) -> Case | None:
    """One medium of the thing that another one shows."""
    if request.scene is None or request.intent != f"from.{source}.{target}":
        return None
    return request.case(scene=request.scene)


def changed_picture(request: Drawn) -> Case | None:
    """ "Make it blue", with a picture; asked for is what changes."""
    scene = request.scene
    if request.intent != "edit.image" or scene is None or len(request.wishes) != 1:
        return None
    wanted = request.wishes[0].attributes
    changed = tuple(name for name, value in wanted.items() if getattr(scene, name) != value)
    return request.case(scene=scene, asks=changed)


_ASKED = {"describe": ("thing", "colour"), "thing": ("thing",), "colour": ("colour",)}


def asked_about(modality: Modality, request: Drawn) -> Case | None:
    """A question about the thing or the colour of a known medium."""
    topic = request.intent.split(".")[1]
    asks = _ASKED.get(topic, ())
    if modality is Modality.AUDIO:
        asks = tuple(name for name in asks if name != "colour")
    if request.scene is None or not asks or request.given[0].modality is not modality:
        return None
    return request.case(scene=request.scene, asks=asks)


def animal_and_words(request: Drawn) -> Case | None:
    """ "Draw any animal, then tell me what it is and its colour." """
    wanted = [(wish.modality, wish.thing) for wish in request.wishes] == [(Modality.IMAGE, "animal")]
    return request.case(asks=("thing", "colour")) if wanted else None


def picture_and_words(request: Drawn) -> Case | None:
    """A picture and a word about it, and what the test splices in its place.

    Where a thing was named, that is a render of another thing and colour. Where the choice was left open, it
    is any that fits, since nobody can know which it will be without looking.
    """
    if len(request.wishes) != 1 or request.wishes[0].modality is not Modality.IMAGE:
        return None
    wish = request.wishes[0]
    rng = random.Random(f"splice:{request.number}")
    if wish.thing in OPEN_THINGS:
        other = wish
    else:
        thing = rng.choice([thing for thing in THINGS if thing != wish.thing])
        colour = rng.choice([colour for colour in COLOURS if colour != wish.colour])
        other = Wish(Modality.IMAGE, thing, colour=colour)
    scene = complete(other, rng, held_out=None)
    number = _SPACING * request.number + _SPACING - 1
    return request.case(spliced=fresh(scene, number), scene=scene, asks=("thing", "colour"))


def outside_in_words(request: Drawn) -> Case | None:
    return request.case() if request.refuses and not request.wishes and not request.given else None


def outside_medium(modality: Modality, request: Drawn) -> Case | None:
    """A request about one medium of something that Toybox does not have."""
    strange = [specimen for specimen in request.given if specimen.scene is None]
    wanted = len(request.given) == len(strange) == 1 and strange[0].modality is modality
    return request.case() if wanted and request.refuses else None


def without_media(request: Drawn) -> Case | None:
    """Greetings, thanks, questions about mini."""
    return request.case() if not request.wishes and not request.given else None
