"""Scenes and renders for `modaverse toybox sample`."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path

import numpy as np

from modaverse.errors import InputError
from modaverse.interfaces import Decoded
from modaverse.media import write_bytes, write_media
from modaverse.toybox import world

Scene = world.Scene | world.ClipScene | world.SoundScene

VALUES: Mapping[str, tuple[str, ...]] = {
    "thing": world.THINGS,
    "colour": world.COLOURS,
    "size": world.SIZES,
    "backdrop": world.BACKDROPS,
    "direction": world.DIRECTIONS,
    "speed": world.SPEEDS,
    "pitch": world.PITCHES,
    "pace": world.PACES,
}
SCENES: Mapping[str, type[Scene]] = {
    "image": world.Scene,
    "video": world.ClipScene,
    "audio": world.SoundScene,
}
SUFFIXES: Mapping[type[Scene], str] = {world.Scene: ".png", world.ClipScene: ".mp4", world.SoundScene: ".wav"}


def sample_scene(kind: str, wishes: Mapping[str, str], seed: int) -> Scene:
    """A scene with the attributes that are wished for; the others are drawn from `seed`.

    Raises:
        InputError: an attribute has no such value, or this kind has no such attribute.
    """
    scene = SCENES[kind]
    names = [field.name for field in fields(scene)]
    for name, value in wishes.items():
        if name not in names:
            raise InputError(f"{kind} has no {name}", hint=f"It has {', '.join(names)}.")
        if value not in VALUES[name]:
            raise InputError(f"there is no {name} {value!r}", hint=f"Choose of {', '.join(VALUES[name])}.")
    rng = random.Random(f"scene:{seed}")
    drawn = {name: rng.choice(VALUES[name]) for name in names}  # all of them, so that wishes move nothing
    return scene(**{**drawn, **wishes})


def render(scene: Scene, seed: int) -> Decoded:
    generator = np.random.default_rng(seed)
    match scene:
        case world.SoundScene():
            from modaverse.toybox.sounds import render_sound

            return render_sound(scene, generator)
        case world.ClipScene():
            from modaverse.toybox.pictures import render_clip

            return render_clip(scene, generator)
        case world.Scene():
            from modaverse.toybox.pictures import render_picture

            return render_picture(scene, generator)


def write_sample(scene: Scene, seed: int, out: Path) -> None:
    """Render `scene` into the file `out`.

    Raises:
        InputError: the name of the file does not fit what is written.
        StorageError: it cannot be written.
    """
    suffix = SUFFIXES[type(scene)]
    if out.suffix.lower() != suffix:
        raise InputError(f"{out}: this would be a {suffix} file", hint=f"Call it {out.with_suffix(suffix)}.")
    with tempfile.TemporaryDirectory() as scratch:
        write_bytes(write_media(render(scene, seed), scratch).path.read_bytes(), out)
