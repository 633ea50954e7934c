"""Pictures from outside of Toybox: things, signs and textures that it does not have.

Half of the kinds are for training, so that "I do not know this" can be learnt, the other half are held
out, so that it can be measured on what was never seen.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from modaverse.errors import DataError
from modaverse.interfaces import Pixels
from modaverse.toybox.pictures.backdrops import draw_backdrop
from modaverse.toybox.pictures.colours import (
    BLACK,
    GLASS,
    RGB,
    SNOW_WHITE,
    WOOD,
    Paint,
    hsv,
    mix,
    paint,
)  # fmt: skip
from modaverse.toybox.pictures.render import SIZE, Fit, Layers, draw_layers
from modaverse.toybox.pictures.sketch import Point, Sketch, rotation
from modaverse.toybox.world import BACKDROPS, COLOURS

Draws = list[float]
"""Eight values in [-1, 1] for a drawing's proportions."""

# ------------------------------------------------------------------------------------ drawn things


def _house(s: Sketch, p: Paint, v: Draws) -> None:
    eaves = -0.1 + 0.1 * v[0]
    s.box(-0.7, eaves, 0.7, 0.9, p.pale, edge=p.line)
    s.polygon([(-0.95, eaves), (0.0, -0.95), (0.95, eaves)], p.main, edge=p.line)
    s.box(-0.15, 0.35, 0.2, 0.9, WOOD, edge=p.line)
    s.box(-0.55, 0.1, -0.28, 0.4, GLASS, edge=p.line)
    s.box(0.32, 0.1, 0.58, 0.4, GLASS, edge=p.line)


def _star(s: Sketch, p: Paint, v: Draws) -> None:
    points, inner = 5 + round(1 + v[0]), 0.42 + 0.08 * v[1]
    radii = [1.0, inner] * points
    angles = [math.pi * k / points for k in range(2 * points)]
    s.polygon(
        [(r * math.sin(a), -r * math.cos(a)) for r, a in zip(radii, angles, strict=True)], p.main, edge=p.line
    )
    s.circle(0, 0, 0.25, p.light)


def _face(s: Sketch, p: Paint, v: Draws) -> None:
    skin = mix((250, 214, 180), (130, 84, 60), 0.5 + 0.5 * v[0])
    s.ellipse(0, -0.2, 0.88, 0.8, p.main, edge=p.line)
    s.ellipse(0, 0.1, 0.75, 0.9, skin, edge=p.line)
    s.ellipse(0, -0.65, 0.6, 0.25, p.main)
    for side in (-1, 1):
        s.ellipse(side * 0.3, 0.0, 0.14, 0.1, SNOW_WHITE)
        s.circle(side * 0.3, 0.0, 0.08, BLACK)
        s.line([(side * 0.16, -0.2), (side * 0.44, -0.2 + 0.06 * v[1])], 0.08, p.line)
    s.line([(0, 0.05), (0.07, 0.3), (-0.04, 0.32)], 0.06, mix(skin, BLACK, 0.4))
    s.line([(-0.28, 0.55), (0.0, 0.55 + 0.12 * v[2]), (0.28, 0.55)], 0.09, (190, 60, 70))


def _fish(s: Sketch, p: Paint, v: Draws) -> None:
    s.polygon([(-0.5, 0.0), (-1.0, -0.45), (-0.9, 0.0), (-1.0, 0.45)], p.dark, edge=p.line)
    s.polygon([(-0.2, -0.3), (0.1, -0.7 - 0.1 * v[0]), (0.4, -0.3)], p.dark, edge=p.line)
    s.ellipse(0.2, 0, 0.78, 0.45 + 0.08 * v[1], p.main, edge=p.line)
    for x in (-0.15, 0.15):
        s.line([(x, -0.3), (x + 0.1, 0.0), (x, 0.3)], 0.1, p.light)
    s.circle(0.62, -0.1, 0.12, SNOW_WHITE)
    s.circle(0.64, -0.1, 0.06, BLACK)


def _mushroom(s: Sketch, p: Paint, v: Draws) -> None:
    s.blob([(-0.25, 0.0), (0.25, 0.0), (0.3, 0.8), (0.0, 0.95), (-0.3, 0.8)], (246, 236, 214), edge=p.line)
    top = -0.9 + 0.1 * v[0]
    s.blob(
        [(-0.95, 0.1), (-0.7, -0.5), (0.0, top), (0.7, -0.5), (0.95, 0.1), (0.0, 0.22)], p.main, edge=p.line
    )
    for x, y, r in ((-0.45, -0.2, 0.14), (0.1, -0.5, 0.16), (0.5, -0.1, 0.13), (0.0, -0.02, 0.1)):
        s.circle(x + 0.06 * v[1], y, r, SNOW_WHITE)


def _cup(s: Sketch, p: Paint, v: Draws) -> None:
    s.line([(0.5, -0.3), (0.95, -0.2), (0.9, 0.3), (0.45, 0.45)], 0.17, p.main, edge=p.line)
    s.polygon([(-0.75, -0.5), (0.6, -0.5), (0.45 + 0.08 * v[0], 0.8), (-0.6, 0.8)], p.main, edge=p.line)
    s.ellipse(-0.08, -0.5, 0.68, 0.17, p.light, edge=p.line)
    s.ellipse(-0.08, -0.48, 0.55, 0.11, (96, 62, 44))
    for x in (-0.3, 0.1):
        s.line([(x, -0.65), (x + 0.08, -0.8), (x, -0.95)], 0.07, (236, 238, 244))


def _shapes(s: Sketch, p: Paint, v: Draws) -> None:
    fills = (p.main, p.dark, hsv(180 + 180 * v[0], 0.6, 0.85), hsv(180 + 180 * v[1], 0.6, 0.7))
    for k, fill in enumerate(fills):
        x, y = 0.55 * (-1) ** k + 0.2 * v[k], 0.55 * (-1) ** (k // 2) + 0.2 * v[k + 4]
        sides = 3 + (k + round(2 + 2 * v[3])) % 4
        corners: list[Point] = [
            (x + 0.45 * math.cos(a), y + 0.45 * math.sin(a))
            for a in (2 * math.pi * n / sides + v[k] for n in range(sides))
        ]
        s.polygon(corners, fill, edge=p.line)


def _tree(s: Sketch, p: Paint, v: Draws) -> None:
    s.polygon([(-0.15, 0.1), (0.15, 0.1), (0.24, 0.95), (-0.24, 0.95)], WOOD, edge=(70, 46, 30))
    leaf = mix((70, 160, 70), p.main, 0.3)
    for x, y, r in ((-0.4, -0.1, 0.45), (0.42, -0.1, 0.45), (0.0, -0.5, 0.52)):
        s.circle(x, y + 0.05 * v[0], r, leaf, edge=mix(leaf, BLACK, 0.5))
    s.circle(0.0, -0.15, 0.48, leaf)
    for x, y in ((-0.35, -0.2), (0.3, -0.35), (0.05, 0.05)):
        s.circle(x, y, 0.1, p.light)


def _giraffe(s: Sketch, p: Paint, v: Draws) -> None:
    for x in (-0.5, -0.25, 0.05, 0.25):
        s.line([(x, 0.3), (x, 0.95)], 0.12, p.dark)
    s.ellipse(-0.12, 0.2, 0.5, 0.25, p.main, edge=p.line)
    s.line([(0.2, 0.15), (0.42 + 0.06 * v[0], -0.7)], 0.22, p.main, edge=p.line)
    s.ellipse(0.55 + 0.06 * v[0], -0.76, 0.26, 0.14, p.main, turn=15, edge=p.line)
    s.line([(0.42, -0.85), (0.38, -1.0)], 0.06, p.line)
    s.circle(0.5, -0.8, 0.05, BLACK)
    for x, y in ((-0.4, 0.15), (-0.1, 0.1), (-0.2, 0.32), (0.1, 0.25), (0.28, -0.1), (0.34, -0.4)):
        s.circle(x, y, 0.08, p.dark)


def _person(s: Sketch, p: Paint, v: Draws) -> None:
    s.line([(0, 0.25), (-0.28, 0.92)], 0.14, p.line)
    s.line([(0, 0.25), (0.28, 0.92)], 0.14, p.line)
    s.line([(0, -0.4), (0, 0.3)], 0.16, p.main)
    s.line([(0, -0.25), (-0.45, 0.05 + 0.3 * v[0])], 0.13, p.main)
    s.line([(0, -0.25), (0.45, 0.05 + 0.3 * v[1])], 0.13, p.main)
    s.circle(0, -0.68, 0.27, (244, 204, 170), edge=p.line)


def _umbrella(s: Sketch, p: Paint, v: Draws) -> None:
    s.line([(0, -0.3), (0, 0.75), (0.12, 0.9), (0.26, 0.75)], 0.1, WOOD)
    edge: list[Point] = [
        (x, -0.1 - 0.12 * (k % 2)) for k, x in enumerate(np.linspace(0.95, -0.95, 9).tolist())
    ]
    tall = 0.8 + 0.05 * v[0]
    arch: list[Point] = [
        (0.95 * math.cos(a), -0.1 + tall * math.sin(a)) for a in np.linspace(-math.pi, 0, 13).tolist()
    ]
    s.polygon([*arch, *edge], p.main, edge=p.line)
    s.polygon([(0, -0.9), (0.3, -0.2), (-0.3, -0.2)], p.light)


def _apple(s: Sketch, p: Paint, v: Draws) -> None:
    s.line([(0, -0.4), (0.1, -0.92)], 0.12, WOOD)
    s.ellipse(0.38, -0.72, 0.28, 0.13, (90, 170, 80), turn=-25)
    s.blob(
        [(0, -0.42), (0.4, -0.58), (0.82, -0.3), (0.8, 0.3), (0.4, 0.88), (0, 0.78), (-0.4, 0.88),
         (-0.8, 0.3),
         (-0.82, -0.3), (-0.4, -0.58)],
        p.main, edge=p.line,
    )  # fmt: skip
    s.ellipse(-0.42, -0.15, 0.14, 0.26 + 0.06 * v[0], p.light, turn=20)


def _flower(s: Sketch, p: Paint, v: Draws) -> None:
    s.line([(0, 0.0), (0.06 * v[0], 0.95)], 0.12, (80, 150, 70))
    s.ellipse(0.28, 0.62, 0.28, 0.11, (90, 170, 80), turn=-30)
    petals = 6 + round(1 + v[1])
    for k in range(petals):
        a = 2 * math.pi * k / petals
        s.ellipse(
            0.42 * math.cos(a),
            -0.35 + 0.42 * math.sin(a),
            0.28,
            0.17,
            p.main,
            turn=math.degrees(a),
            edge=p.line,
        )
    s.circle(0, -0.35, 0.24, (250, 206, 80), edge=p.line)


def _key(s: Sketch, p: Paint, v: Draws) -> None:
    s.line([(-0.2, 0), (0.92, 0)], 0.2, p.main, edge=p.line)
    for x in (0.6, 0.85):
        s.line([(x, 0.05), (x, 0.34 + 0.08 * v[0])], 0.16, p.main)
    s.circle(-0.55, 0, 0.42, p.main, edge=p.line)
    s.circle(-0.55, 0, 0.2, p.line)


_LETTERS: tuple[tuple[tuple[Point, ...], ...], ...] = (
    (((0, 1), (0.5, 0)), ((0.5, 0), (1, 1)), ((0.2, 0.6), (0.8, 0.6))),  # A
    (((0, 0), (0, 1)), ((0, 0), (1, 0)), ((0, 0.5), (0.8, 0.5)), ((0, 1), (1, 1))),  # E
    (((0, 0), (0, 1)), ((1, 0), (1, 1)), ((0, 0.5), (1, 0.5))),  # H
    (((0, 0), (0, 1)), ((1, 0), (0, 0.5)), ((0, 0.5), (1, 1))),  # K
    (((0, 1), (0, 0)), ((0, 0), (0.5, 0.6)), ((0.5, 0.6), (1, 0)), ((1, 0), (1, 1))),  # M
    (((0, 1), (0, 0)), ((0, 0), (1, 1)), ((1, 1), (1, 0))),  # N
    (((0, 0), (1, 0)), ((0.5, 0), (0.5, 1))),  # T
    (((0, 0), (1, 1)), ((1, 0), (0, 1))),  # X
    (((0, 0), (1, 0)), ((1, 0), (0, 1)), ((0, 1), (1, 1))),  # Z
    (((0, 0), (1, 0)), ((1, 0), (0.4, 1))),  # 7
    (((0.7, 1), (0.7, 0)), ((0.7, 0), (0, 0.65)), ((0, 0.65), (1, 0.65))),  # 4
)


def _glyphs(s: Sketch, p: Paint, v: Draws) -> None:
    """Two lines of writing."""
    s.box(-1.0, -0.8, 1.0, 0.8, p.pale, radius=0.1, edge=p.line)
    for k in range(6):
        letter = _LETTERS[int((v[k] + 1) * 0.5 * len(_LETTERS)) % len(_LETTERS)]
        x, y = -0.78 + 0.58 * (k % 3), -0.6 + 0.68 * (k // 3)
        for a, b in letter:
            s.line([(x + 0.4 * a[0], y + 0.5 * a[1]), (x + 0.4 * b[0], y + 0.5 * b[1])], 0.1, p.line)


# -------------------------------------------------------------------------------- whole pictures


def _two_colours(rng: np.random.Generator) -> tuple[RGB, RGB]:
    hue = rng.uniform(0, 360)
    first = hsv(hue, rng.uniform(0.1, 0.9), rng.uniform(0.5, 1.0))
    return first, hsv(hue + rng.uniform(60, 300), rng.uniform(0.1, 0.9), rng.uniform(0.1, 0.9))


def _duotone(share: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    """Two colours mixed by `share` (size, size) in 0..1."""
    a, b = (np.asarray(colour, dtype=np.float64) for colour in _two_colours(rng))
    return a * (1 - share[..., None]) + b * share[..., None]


def _grid(size: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    unit = (np.arange(size) + 0.5) / size
    return np.broadcast_to(unit[None, :], (size, size)), np.broadcast_to(unit[:, None], (size, size))


def _stripes(size: int, rng: np.random.Generator) -> NDArray[np.float64]:
    x, y = _grid(size)
    angle, count = rng.uniform(0, math.pi), rng.uniform(3, 9)
    wave = np.sin(2 * math.pi * (count * (x * math.cos(angle) + y * math.sin(angle)) + rng.random()))
    return _duotone(np.clip(0.5 + 3 * wave, 0, 1), rng)


def _gradient(size: int, rng: np.random.Generator) -> NDArray[np.float64]:
    x, y = _grid(size)
    angle = rng.uniform(0, 2 * math.pi)
    along = (x - 0.5) * math.cos(angle) + (y - 0.5) * math.sin(angle)
    return _duotone(np.clip(0.5 + rng.uniform(0.6, 1.4) * along, 0, 1), rng)


def _checkerboard(size: int, rng: np.random.Generator) -> NDArray[np.float64]:
    x, y = _grid(size)
    count, dx, dy = rng.uniform(4, 10), rng.random(), rng.random()
    return _duotone((np.floor(count * x + dx) + np.floor(count * y + dy)) % 2, rng)


def _spiral(size: int, rng: np.random.Generator) -> NDArray[np.float64]:
    x, y = _grid(size)
    x, y = x - rng.uniform(0.4, 0.6), y - rng.uniform(0.4, 0.6)
    turns, way = rng.uniform(3, 7), float(rng.choice([-1, 1]))
    wave = np.sin(2 * math.pi * turns * np.hypot(x, y) * 2 + way * np.arctan2(y, x) + rng.uniform(0, 6))
    return _duotone(np.clip(0.5 + 2.5 * wave, 0, 1), rng)


def _texture(size: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Noise whose power falls with frequency as in photographs, a little apart in each colour channel."""
    frequency = np.hypot(np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size)[None, :])
    fall = 1.0 / np.maximum(frequency, 1.0 / size) ** rng.uniform(1.0, 1.6)
    base = rng.normal(size=(size, size, 1)) + 0.35 * rng.normal(size=(size, size, 3))
    noise = np.fft.irfft2(np.fft.rfft2(base, axes=(0, 1)) * fall[..., None], s=(size, size), axes=(0, 1))
    noise = (noise - noise.mean(axis=(0, 1))) / noise.std(axis=(0, 1))
    level = rng.uniform(80, 170, 3)
    texture: NDArray[np.float64] = level + rng.uniform(25, 55) * noise
    return texture


# ------------------------------------------------------------------------------------------- kinds

_THINGS: dict[str, Callable[[Sketch, Paint, Draws], None]] = {
    "house": _house, "star": _star, "face": _face, "fish": _fish, "mushroom": _mushroom, "cup": _cup,
    "shapes": _shapes, "glyphs": _glyphs, "tree": _tree, "giraffe": _giraffe, "person": _person,
    "umbrella": _umbrella, "apple": _apple, "flower": _flower, "key": _key,
}  # fmt: skip
_WHOLE: dict[str, Callable[[int, np.random.Generator], NDArray[np.float64]]] = {
    "stripes": _stripes, "gradient": _gradient, "checkerboard": _checkerboard, "spiral": _spiral,
    "texture": _texture,
}  # fmt: skip

FOREIGN_TRAIN = (
    "house", "star", "face", "fish", "mushroom", "cup", "shapes", "glyphs", "stripes", "gradient",
)  # fmt: skip
FOREIGN_HELD_OUT = (
    "tree", "giraffe", "person", "umbrella", "apple", "flower", "key", "checkerboard", "spiral", "texture",
)  # fmt: skip
FOREIGN = FOREIGN_TRAIN + FOREIGN_HELD_OUT


def foreign_picture(
    rng: np.random.Generator | int, *, kinds: Sequence[str] | None = None, size: int = SIZE
) -> Pixels:
    """A picture of something that Toybox does not have, of one of `kinds` (else of `FOREIGN`).

    The picture is (size, size, 3). Things stand mostly before one of Toybox's own backdrops, so that the
    backdrop tells nothing.

    Raises:
        DataError: a kind that does not exist, or none at all.
    """
    rng = np.random.default_rng(rng)
    chosen = FOREIGN if kinds is None else tuple(kinds)
    unknown = sorted(set(chosen) - set(FOREIGN))
    if unknown or not chosen:
        raise DataError(
            f"no such foreign pictures: {unknown or 'none given'}", hint=f"There are {', '.join(FOREIGN)}."
        )
    kind = chosen[int(rng.integers(len(chosen)))]
    if kind in _WHOLE:
        return Pixels(np.clip(_WHOLE[kind](size, rng) + 0.5, 0, 255).astype(np.uint8))
    return Pixels(_thing(kind, size, rng).compose())


def _thing(kind: str, size: int, rng: np.random.Generator) -> Layers:
    shades = paint(str(rng.choice(COLOURS)), rng)
    sketch = Sketch()
    _THINGS[kind](sketch, shades, rng.uniform(-1.0, 1.0, 8).tolist())
    matrix = rotation(rng.uniform(-9, 9)) @ np.diag([rng.choice([-1.0, 1.0]), 1.0])
    low, high = sketch.place(matrix, np.zeros(2)).bounds()
    scale = SIZE * rng.uniform(0.38, 0.78) / float((high - low).max())
    width, height = ((high - low) * scale).tolist()
    fit = Fit(matrix * scale, -(low + high) / 2 * scale, width, height)
    room = np.maximum((SIZE - np.array([width, height])) / 2 - 1.5, 0.0)
    x, y = (SIZE / 2 + room * rng.uniform(-1, 1, 2)).tolist()
    if rng.random() < 0.6:  # on the ground, as Toybox's own things mostly are
        y = max(rng.uniform(0.79, 0.955) * SIZE, height + 1.5) - height / 2
        ground = y + height / 2 - 0.4
    else:
        ground = max(0.93 * SIZE, y + height / 2 - 0.4)
    if rng.random() < 0.6:
        backdrop = draw_backdrop(str(rng.choice(BACKDROPS)), size, 4, int(rng.integers(0, 2**62)))
    else:
        backdrop = _gradient(size, rng).astype(np.float32)
    return draw_layers(sketch, fit, backdrop, (x, y), ground, shades.line)
