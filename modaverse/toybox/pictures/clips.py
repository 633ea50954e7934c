"""Scenes to clips: a thing on its way, moving like itself, before a backdrop that drifts a little."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from modaverse.errors import DataError
from modaverse.interfaces import Frames
from modaverse.toybox.pictures.backdrops import draw_backdrop
from modaverse.toybox.pictures.colours import paint
from modaverse.toybox.pictures.render import (
    FLYING,
    SIZE,
    Fit,
    Layers,
    Pose,
    Truth,
    between,
    check,
    draw_layers,
    draw_thing,
    fit_sketch,
    oversample,
    place_thing,
    streams,
    truth_of,
)  # fmt: skip
from modaverse.toybox.world import DIRECTIONS, SPEEDS, ClipScene

FRAMES = 9
FPS = 8.0

_EXTENT = {"small": (22.5, 27.0), "large": (38.5, 43.0)}  # smaller than in pictures, for room to move
_TRAVEL = {"slow": (10.0, 14.0), "fast": (26.0, 34.0)}  # pixels of 64 from the first frame to the last
_CYCLES = {"slow": 0.9, "fast": 1.8}  # of a thing's own movement
_HOP = {"frog": 3.0, "bird": 1.2, "cat": 0.5, "dog": 0.6, "boat": 0.8}  # pixels of 64
_LEAN = {"left": -22.0, "right": 22.0}  # degrees, of a rocket


def _path(scene: ClipScene, pose: Pose, fit: Fit, draws: list[float]) -> NDArray[np.float64]:
    """Where the centre is in each frame: (FRAMES, 2), pixels of 64."""
    horizontal = scene.direction in ("left", "right")
    reach = fit.width if horizontal else fit.height
    travel = between(_TRAVEL[scene.speed], draws[0])
    # In view throughout where that is possible; otherwise a little of it leaves the frame at both ends.
    travel = max(min(travel, SIZE - 0.84 * reach), _TRAVEL[scene.speed][0])
    room = max(SIZE - 1.0 - reach - travel, 0.0)
    first = SIZE / 2 - travel / 2 + 0.5 * room * draws[1]
    along = first + travel * np.linspace(0.0, 1.0, FRAMES)
    if scene.direction in ("left", "up"):
        along = along[::-1]
    x, y = place_thing(pose, scene.thing, fit)
    path = np.empty((FRAMES, 2))
    path[:, 0], path[:, 1] = (along, y) if horizontal else (x, along)
    return path


def _facing(scene: ClipScene, pose: Pose, draw: float) -> Pose:
    """Things look where they go, but for one in eight: a still picture may be set moving either way."""
    if scene.direction not in ("left", "right"):
        return pose
    backwards = draw > 0.75
    return replace(pose, mirror=(scene.direction == "left") != backwards)


def clip_layers(scene: ClipScene, rng: np.random.Generator | int, *, size: int = SIZE) -> list[Layers]:
    """A clip of `scene` in layers, one a frame.

    Raises:
        DataError: as for pictures, or an unknown direction or speed.
    """
    check(scene, size)
    if scene.direction not in DIRECTIONS or scene.speed not in SPEEDS:
        raise DataError(
            f"Toybox has no motion {scene.direction!r}, {scene.speed!r}",
            hint="Directions are left, right, up and down; speeds slow and fast.",
        )
    drawn = streams(rng)
    draws = np.random.default_rng(drawn.motion).uniform(-1.0, 1.0, 8).tolist()
    pose = _facing(scene, drawn.pose, draws[2])
    shades = paint(scene.colour, np.random.default_rng(drawn.shade))
    lean = _LEAN.get(scene.direction, 0.0) if scene.thing == "rocket" else 0.0
    still = draw_thing(scene.thing, shades, pose, 0.0)
    fit = fit_sketch(still, pose, scene.thing, between(_EXTENT[scene.size], pose.extent), lean)
    path = _path(scene, pose, fit, draws)
    foot = float(path[:, 1].max()) + fit.height / 2 - 0.4
    ground = max(foot, 0.93 * SIZE) if scene.thing in FLYING else foot
    hop = _HOP.get(scene.thing, 0.0) if scene.direction in ("left", "right") else 0.0
    frames = []
    for k in range(FRAMES):
        time = k / (FRAMES - 1)
        phase = pose.phase + _CYCLES[scene.speed] * time
        lift = hop * (abs(math.sin(2 * math.pi * phase)) - 0.5)
        place = (float(path[k, 0]), float(path[k, 1]) - lift)
        sketch = draw_thing(scene.thing, shades, pose, phase)
        backdrop = draw_backdrop(scene.backdrop, size, oversample(size), drawn.backdrop, time)
        frames.append(draw_layers(sketch, fit, backdrop, place, ground, shades.line))
    return frames


def render_clip_with_truth(
    scene: ClipScene, rng: np.random.Generator | int, *, size: int = SIZE
) -> tuple[Frames, tuple[Truth, ...]]:
    """One clip of `scene`, (9, size, size, 3) at 8 frames a second, and where its thing is in each frame.

    Raises:
        DataError: as for pictures, or an unknown direction or speed.
    """
    layers = clip_layers(scene, rng, size=size)
    return Frames(np.stack([frame.compose() for frame in layers]), FPS), tuple(map(truth_of, layers))


def render_clip(scene: ClipScene, rng: np.random.Generator | int, *, size: int = SIZE) -> Frames:
    """One clip of `scene`; see `render_clip_with_truth`."""
    return Frames(np.stack([frame.compose() for frame in clip_layers(scene, rng, size=size)]), FPS)


def render_clip_pair(
    before: ClipScene, after: ClipScene, rng: np.random.Generator | int, *, size: int = SIZE
) -> tuple[Frames, Frames]:
    """Two clips from one draw of pose, way, shade and backdrop: only what the scenes say differs."""
    seed = int(np.random.default_rng(rng).integers(0, 2**62))
    return render_clip(before, seed, size=size), render_clip(after, seed, size=size)
