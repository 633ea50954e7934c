"""Changes of pictures: a scene before, the same scene after, and what a caption says of it.

The pictures of both are exact: a renderer that gets the same random numbers twice draws the same pose, place,
shade and backdrop, so that two renders differ only where their scenes do (`modaverse.toybox.pictures`).
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace

from modaverse.context import Modality
from modaverse.toybox.wordings.captions import caption_of
from modaverse.toybox.wordings.wishes import VALUES, Wish, partial_wish
from modaverse.toybox.world import THINGS, Scene, is_held_out, random_scene

WEIGHTS: Mapping[str, float] = {"colour": 4, "backdrop": 3, "size": 2, "thing": 2}
"""How often each attribute is what changes; about as often as people ask for it."""

SECOND = 0.15
"""How often another attribute changes as well."""


@dataclass(frozen=True, slots=True)
class Edit:
    """What a picture shows, and what it is to show instead."""

    before: Scene
    after: Scene

    @property
    def changes(self) -> dict[str, str]:
        """The attributes that change, with their new values."""
        values = {field.name: getattr(self.after, field.name) for field in fields(Scene)}
        return {name: value for name, value in values.items() if value != getattr(self.before, name)}

    def reversed(self) -> Edit:
        return Edit(self.after, self.before)


def random_edit(rng: random.Random) -> Edit:
    """An edit to learn from: neither side of it is held out.

    The scene before is the first thing that `rng` decides, as it is of `random_scene`.
    """
    before = random_scene(rng)
    while True:
        names = {rng.choices(tuple(WEIGHTS), tuple(WEIGHTS.values()))[0]}
        if rng.random() < SECOND:
            names.add(rng.choice(tuple(WEIGHTS)))
        after = before
        for name in sorted(names):
            after = _with_another(after, name, rng)
        if not is_held_out(after):
            return Edit(before, after)


def held_out_edit(rng: random.Random, name: str) -> Edit:
    """An edit to measure with: of one attribute, to a scene that is held out."""
    after = random_scene(rng, held_out=True)
    return Edit(_with_another(after, name, rng), after)


def edit_caption(edit: Edit, rng: random.Random) -> str:
    """A caption of the picture after, whole or partial, in which all that changes is said: what it leaves
    open stays as it was."""
    said = partial_wish(edit.after, rng).attributes | edit.changes
    return caption_of(Wish(Modality.IMAGE, **said), rng)


def _with_another(scene: Scene, name: str, rng: random.Random) -> Scene:
    values = THINGS if name == "thing" else VALUES[name]
    return replace(scene, **{name: rng.choice([v for v in values if v != getattr(scene, name)])})
