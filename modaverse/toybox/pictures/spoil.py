"""Spoilt pictures and clips, in which nobody could say what the thing is.

They are what generators get wrong: nothing, noise, two things at once, half a thing, a thing in pieces
or melted. A spoilt clip is spoilt the same way in all of its frames, so that it moves and drifts like a
good one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from modaverse.errors import DataError
from modaverse.interfaces import Frames, Pixels
from modaverse.toybox.pictures.clips import FPS, clip_layers
from modaverse.toybox.pictures.render import SIZE, Layers, picture_layers, truth_of
from modaverse.toybox.world import BACKDROPS, COLOURS, THINGS, ClipScene, Scene

Picture = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class _Case:
    """What is to be spoilt: the frames (one for a picture), and another thing on the same way."""

    frames: Sequence[Layers]
    other: Callable[[np.random.Generator, bool], Sequence[Layers]]


def _blank(case: _Case, rng: np.random.Generator) -> list[Picture]:
    """The backdrop alone, sometimes with the shadow of nothing."""
    shadow = rng.random() < 0.3
    nothing = np.zeros_like(case.frames[0].thing)
    return [replace(f, thing=nothing, stage=f.stage if shadow else f.backdrop).compose() for f in case.frames]


def _noise(case: _Case, rng: np.random.Generator) -> list[Picture]:
    """Noise of a fine or coarse grain over what is hardly left of the picture."""
    grain, share = int(rng.choice([1, 2, 4])), float(rng.uniform(0.9, 1.0))
    level, spread, grey = rng.uniform(90, 160), rng.uniform(35, 90), rng.random() < 0.25
    spoilt = []
    for frame in case.frames:
        size = frame.stage.shape[0]
        cells = -(-size // grain)
        noise = rng.normal(level, spread, (cells, cells, 1 if grey else 3))
        noise = noise.repeat(grain, axis=0).repeat(grain, axis=1)[:size, :size]
        spoilt.append(_bytes(frame.compose() * (1 - share) + noise * share))
    return spoilt


def _blend(case: _Case, rng: np.random.Generator) -> list[Picture]:
    """Two pictures of different things, one shining through the other."""
    share = float(rng.uniform(0.42, 0.58))
    others = case.other(rng, False)
    return [
        _bytes(a.compose() * (1 - share) + b.compose() * share)
        for a, b in zip(case.frames, others, strict=True)
    ]


def _half(case: _Case, rng: np.random.Generator) -> list[Picture]:
    """More than half of the thing is missing."""
    angle, kept = rng.uniform(0, 2 * math.pi), float(rng.uniform(0.25, 0.42))
    return [_with_thing(f, f.thing * _side(f.cover, angle, kept)[..., None]).compose() for f in case.frames]


def _chimera(case: _Case, rng: np.random.Generator) -> list[Picture]:
    """Half of one thing grown together with half of another, which is moved to where the first one is."""
    angle = rng.uniform(0, 2 * math.pi)
    spoilt = []
    for a, b in zip(case.frames, case.other(rng, True), strict=True):
        move = np.rint(np.subtract(truth_of(a).centre, truth_of(b).centre)).astype(int).tolist()
        second = np.roll(b.thing, (move[1], move[0]), axis=(0, 1))
        side = _side(a.cover, angle, 0.5)[..., None]
        spoilt.append(_with_thing(a, a.thing * side + second * (1 - side)).compose())
    return spoilt


def _patches(case: _Case, rng: np.random.Generator) -> list[Picture]:
    """The picture cut into 8 × 8 squares that are laid out in another order."""
    order = rng.permutation(64)
    spoilt = []
    for frame in case.frames:
        picture = frame.compose()
        side = picture.shape[0] // 8
        tiles = picture[: 8 * side, : 8 * side].reshape(8, side, 8, side, 3).swapaxes(1, 2)
        mixed = tiles.reshape(64, side, side, 3)[order].reshape(8, 8, side, side, 3).swapaxes(1, 2)
        picture = picture.copy()
        picture[: 8 * side, : 8 * side] = mixed.reshape(8 * side, 8 * side, 3)
        spoilt.append(picture)
    return spoilt


def _blur(case: _Case, rng: np.random.Generator) -> list[Picture]:
    """Out of focus until only spots of colour are left."""
    size = case.frames[0].stage.shape[0]
    radius = float(rng.uniform(0.1, 0.16)) * size
    soft = ImageFilter.GaussianBlur(radius)
    return [np.asarray(Image.fromarray(f.compose()).filter(soft)) for f in case.frames]


def _deformed(case: _Case, rng: np.random.Generator) -> list[Picture]:
    """The thing wrung by waves and a whirl."""
    waves = rng.uniform(0.0, 2 * math.pi, 4)
    lengths, whirl = rng.uniform(0.35, 0.75, 4), float(rng.choice([-1, 1]) * rng.uniform(1.5, 3.0))
    return [_with_thing(f, _wrung(f, waves, lengths, whirl)).compose() for f in case.frames]


def _wrung(
    frame: Layers, waves: NDArray[np.float64], lengths: NDArray[np.float64], whirl: float
) -> NDArray[np.float32]:
    size = frame.stage.shape[0]
    ys, xs = np.nonzero(frame.cover > 0.5)
    if len(xs) == 0:
        return frame.thing
    reach = max(float(np.ptp(xs)), float(np.ptp(ys)), 4.0) + 1
    grid = np.arange(size, dtype=np.float64)
    x = (grid[None, :] - (xs.min() + xs.max()) / 2) / reach
    y = (grid[:, None] - (ys.min() + ys.max()) / 2) / reach
    turn = whirl * np.exp(-6.0 * (x * x + y * y))
    u, v = x * np.cos(turn) - y * np.sin(turn), x * np.sin(turn) + y * np.cos(turn)
    a, b, c, d = (2 * math.pi * lengths**-1).tolist()
    u2 = u + 0.17 * np.sin(a * v + waves[0]) + 0.1 * np.sin(b * u + waves[1])
    v2 = v + 0.17 * np.sin(c * u + waves[2]) + 0.1 * np.sin(d * v + waves[3])
    return _sample(
        frame.thing, u2 * reach + (xs.min() + xs.max()) / 2, v2 * reach + (ys.min() + ys.max()) / 2
    )


def _sample(
    thing: NDArray[np.float32], x: NDArray[np.float64], y: NDArray[np.float64]
) -> NDArray[np.float32]:
    """`thing` read at (x, y), in pixels, between its pixels bilinearly: of the shape of `x`."""
    last = thing.shape[0] - 1.001
    x, y = np.clip(x, 0, last), np.clip(y, 0, last)
    column, row = x.astype(int), y.astype(int)
    right, down = (x - column)[..., None], (y - row)[..., None]
    upper = thing[row, column] * (1 - right) + thing[row, column + 1] * right
    lower = thing[row + 1, column] * (1 - right) + thing[row + 1, column + 1] * right
    sampled: NDArray[np.float32] = (upper * (1 - down) + lower * down).astype(np.float32)
    return sampled


def _side(cover: NDArray[np.float32], angle: float, kept: float) -> NDArray[np.float32]:
    """(size, size): 1 on the side of a straight cut that holds the share `kept` of `cover`, 0 beyond it."""
    grid = np.arange(cover.shape[0], dtype=np.float32)
    along = math.cos(angle) * grid[None, :] + math.sin(angle) * grid[:, None]
    covered = along[cover > 0.5]
    cut = float(np.quantile(covered, kept)) if len(covered) else 0.0
    side: NDArray[np.float32] = np.clip(cut - along + 0.5, 0.0, 1.0).astype(np.float32)
    return side


def _with_thing(frame: Layers, thing: NDArray[np.float32]) -> Layers:
    return replace(frame, thing=thing)


def _bytes(picture: NDArray[np.float64]) -> Picture:
    spoilt: Picture = np.clip(picture + 0.5, 0, 255).astype(np.uint8)
    return spoilt


_SPOIL: dict[str, Callable[[_Case, np.random.Generator], list[Picture]]] = {
    "blank": _blank,
    "noise": _noise,
    "blend": _blend,
    "half": _half,
    "chimera": _chimera,
    "patches": _patches,
    "blur": _blur,
    "deformed": _deformed,
}
SPOILT = tuple(_SPOIL)
"""The ways in which a picture or clip is spoilt."""


def _kind(kind: str | None, rng: np.random.Generator) -> str:
    if kind is None:
        return SPOILT[int(rng.integers(len(SPOILT)))]
    if kind not in _SPOIL:
        raise DataError(f"nothing is spoilt by {kind!r}", hint=f"Choose one of {', '.join(SPOILT)}.")
    return kind


S = TypeVar("S", Scene, ClipScene)


def _other(scene: S, rng: np.random.Generator, *, same_look: bool) -> S:
    """The scene with another thing in it, and unless `same_look` with other colours and surroundings."""
    thing = str(rng.choice([thing for thing in THINGS if thing != scene.thing]))
    if same_look:
        return replace(scene, thing=thing)
    return replace(scene, thing=thing, colour=str(rng.choice(COLOURS)), backdrop=str(rng.choice(BACKDROPS)))


def spoil_picture(
    scene: Scene, rng: np.random.Generator | int, *, kind: str | None = None, size: int = SIZE
) -> Pixels:
    """A picture of `scene` spoilt by `kind` (of `SPOILT`; drawn where None): (size, size, 3).

    Raises:
        DataError: no such kind, or a scene that Toybox does not have.
    """
    rng = np.random.default_rng(rng)
    kind = _kind(kind, rng)
    seed = int(rng.integers(0, 2**62))

    def other(rng: np.random.Generator, same_place: bool) -> Sequence[Layers]:
        second = _other(scene, rng, same_look=same_place)
        return [picture_layers(second, seed if same_place else rng, size=size)]

    return Pixels(_SPOIL[kind](_Case([picture_layers(scene, seed, size=size)], other), rng)[0])


def spoil_clip(
    scene: ClipScene, rng: np.random.Generator | int, *, kind: str | None = None, size: int = SIZE
) -> Frames:
    """A clip of `scene` spoilt by `kind` (of `SPOILT`; drawn where None) throughout: (9, size, size, 3).

    Raises:
        DataError: no such kind, or a scene that Toybox does not have.
    """
    rng = np.random.default_rng(rng)
    kind = _kind(kind, rng)
    seed = int(rng.integers(0, 2**62))

    def other(rng: np.random.Generator, same_place: bool) -> Sequence[Layers]:
        second = _other(scene, rng, same_look=same_place)
        return clip_layers(second, seed if same_place else rng, size=size)

    frames = _SPOIL[kind](_Case(clip_layers(scene, seed, size=size), other), rng)
    return Frames(np.stack(frames), FPS)
