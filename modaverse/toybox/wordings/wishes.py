"""What a request asks for, as values: a `Wish` is a scene in which things may be left open."""

from __future__ import annotations

import random
from dataclasses import dataclass, fields

from modaverse.context import Modality
from modaverse.toybox.world import (
    ANIMALS,
    BACKDROPS,
    COLOURS,
    DIRECTIONS,
    OBJECTS,
    PACES,
    PITCHES,
    SIZES,
    SPEEDS,
    THINGS,
    VEHICLES,
    ClipScene,
    Scene,
    SoundScene,
    is_held_out,
)

AnyScene = Scene | ClipScene | SoundScene

OPEN_THINGS = {"animal": ANIMALS, "vehicle": VEHICLES, "object": OBJECTS, "something": THINGS}
"""What may stand for a thing where its choice is left to the generator."""

VALUES = {
    "colour": COLOURS,
    "size": SIZES,
    "backdrop": BACKDROPS,
    "direction": DIRECTIONS,
    "speed": SPEEDS,
    "pitch": PITCHES,
    "pace": PACES,
}

SCENE_OF = {Modality.IMAGE: Scene, Modality.VIDEO: ClipScene, Modality.AUDIO: SoundScene}
MODALITY_OF = {scene: modality for modality, scene in SCENE_OF.items()}

ATTRIBUTES_OF: dict[Modality, tuple[str, ...]] = {
    modality: tuple(f.name for f in fields(scene) if f.name != "thing")
    for modality, scene in SCENE_OF.items()
}
"""Beside the thing, in the order of the scene's fields."""


@dataclass(frozen=True, slots=True)
class Wish:
    """A medium that is asked for. What is None was not said, and any value of it is right."""

    modality: Modality
    thing: str
    colour: str | None = None
    size: str | None = None
    backdrop: str | None = None
    direction: str | None = None
    speed: str | None = None
    pitch: str | None = None
    pace: str | None = None

    @property
    def attributes(self) -> dict[str, str]:
        """What was said, the thing first."""
        said = {name: getattr(self, name) for name in ("thing", *ATTRIBUTES_OF[self.modality])}
        return {name: value for name, value in said.items() if value is not None}

    def fits(self, scene: AnyScene) -> bool:
        """True when `scene` is what was asked for."""
        if MODALITY_OF[type(scene)] is not self.modality or scene.thing not in self.things:
            return False
        return all(getattr(scene, n) == v for n, v in self.attributes.items() if n != "thing")

    @property
    def things(self) -> tuple[str, ...]:
        """The things that would be right."""
        return OPEN_THINGS.get(self.thing, (self.thing,))


def wish_for(scene: AnyScene) -> Wish:
    """The wish that says all of `scene`."""
    modality = MODALITY_OF[type(scene)]
    return Wish(modality, scene.thing, **{name: getattr(scene, name) for name in ATTRIBUTES_OF[modality]})


def partial_wish(
    scene: AnyScene, rng: random.Random, *, detail: float | None = None, open_thing: float = 0.0
) -> Wish:
    """A wish that `scene` fulfils: each attribute is said with the probability `detail`.

    Without `detail` two wishes in five say everything and the others about half of it, the way captions
    and requests are. With the probability `open_thing` only the kind of thing is said ("an animal").
    """
    modality = MODALITY_OF[type(scene)]
    if detail is None:
        detail = 1.0 if rng.random() < 0.4 else 0.5
    said = {name: getattr(scene, name) for name in ATTRIBUTES_OF[modality] if rng.random() < detail}
    thing = scene.thing
    if rng.random() < open_thing:
        thing = rng.choice([name for name, members in OPEN_THINGS.items() if thing in members])
    return Wish(modality, thing, **said)


def complete(wish: Wish, rng: random.Random, *, held_out: bool | None = False) -> AnyScene:
    """A random scene that fulfils `wish`: one of training's (default), a held-out one (True), or any (None).

    Where no scene of the wanted kind fits (a held-out combination was asked for by name), any fitting one.
    """
    kind = SCENE_OF[wish.modality]
    names = ATTRIBUTES_OF[wish.modality]
    for _ in range(400):
        thing = rng.choice(wish.things)
        values = [getattr(wish, name) or rng.choice(VALUES[name]) for name in names]
        scene: AnyScene = kind(thing, *values)
        if held_out is None or is_held_out(scene) == held_out:
            return scene
    return complete(wish, rng, held_out=None)
