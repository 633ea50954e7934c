"""What exists in Toybox: the attributes of pictures, clips and sounds, and which combinations are held out.

Toybox is a small world with known truth. A `Scene` says all that a picture's caption can say, a `ClipScene`
adds the motion, a `SoundScene` is a thing's sound. What a caption does not say (pose, place, shade, tempo,
timbre, noise) is drawn anew from a random generator by the renderers.
"""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import product
from typing import TypeVar

THINGS = (
    "cat", "dog", "bird", "frog", "car", "train", "boat", "rocket", "bell", "drum", "clock", "phone",
)  # fmt: skip
COLOURS = ("red", "orange", "yellow", "green", "blue", "purple", "white", "brown")
SIZES = ("small", "large")
BACKDROPS = ("day", "night", "meadow", "beach", "snow")
DIRECTIONS = ("left", "right", "up", "down")
SPEEDS = ("slow", "fast")
PITCHES = ("low", "high")
PACES = ("slow", "fast")

ANIMALS = ("cat", "dog", "bird", "frog")
VEHICLES = ("car", "train", "boat", "rocket")
OBJECTS = ("bell", "drum", "clock", "phone")


@dataclass(frozen=True, slots=True)
class Scene:
    """A picture: one thing of one colour and size before one backdrop."""

    thing: str
    colour: str
    size: str
    backdrop: str


@dataclass(frozen=True, slots=True)
class ClipScene:
    """A clip: a scene whose thing moves."""

    thing: str
    colour: str
    size: str
    backdrop: str
    direction: str
    speed: str

    @property
    def scene(self) -> Scene:
        return Scene(self.thing, self.colour, self.size, self.backdrop)


@dataclass(frozen=True, slots=True)
class SoundScene:
    """A sound: what one thing sounds like, low or high, slow or fast."""

    thing: str
    pitch: str
    pace: str


def is_held_out(scene: Scene | ClipScene | SoundScene) -> bool:
    """True for what no training ever sees.

    Pictures and clips: for each thing one whole colour (spread so that every colour is held out for some
    thing and seen with the others), and one more colour before one backdrop. Sounds: for every second
    thing one of its four (pitch, pace) pairs.
    """
    thing = THINGS.index(scene.thing)
    if isinstance(scene, SoundScene):
        pair = 2 * PITCHES.index(scene.pitch) + PACES.index(scene.pace)
        return thing % 2 == 0 and pair == (thing // 2) % 4
    colour, backdrop = COLOURS.index(scene.colour), BACKDROPS.index(scene.backdrop)
    whole = colour == (3 * thing + 1) % len(COLOURS)
    part = colour == (3 * thing + 4) % len(COLOURS) and backdrop == (2 * thing + 3) % len(BACKDROPS)
    return whole or part


S = TypeVar("S", Scene, ClipScene, SoundScene)


def _split(scenes: Iterable[S], held_out: bool | None) -> tuple[S, ...]:
    return tuple(s for s in scenes if held_out is None or is_held_out(s) == held_out)


def all_scenes(*, held_out: bool | None = False) -> tuple[Scene, ...]:
    """Every scene in a fixed order: those of training, those held out (True), or both (None)."""
    return _split((Scene(*values) for values in product(THINGS, COLOURS, SIZES, BACKDROPS)), held_out)


def all_sound_scenes(*, held_out: bool | None = False) -> tuple[SoundScene, ...]:
    return _split((SoundScene(*values) for values in product(THINGS, PITCHES, PACES)), held_out)


_SCENES = {held_out: all_scenes(held_out=held_out) for held_out in (False, True, None)}
_SOUND_SCENES = {held_out: all_sound_scenes(held_out=held_out) for held_out in (False, True, None)}


def random_scene(rng: random.Random, *, held_out: bool | None = False) -> Scene:
    return rng.choice(_SCENES[held_out])


def random_clip_scene(rng: random.Random, *, held_out: bool | None = False) -> ClipScene:
    scene = random_scene(rng, held_out=held_out)
    return ClipScene(
        scene.thing, scene.colour, scene.size, scene.backdrop, rng.choice(DIRECTIONS), rng.choice(SPEEDS)
    )


def random_sound_scene(rng: random.Random, *, held_out: bool | None = False) -> SoundScene:
    return rng.choice(_SOUND_SCENES[held_out])
