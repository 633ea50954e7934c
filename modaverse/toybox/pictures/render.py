"""Scenes to pictures.

Everything a scene does not say is drawn from independent streams of one seed: pose, shade, backdrop, motion.
Two renders from one seed therefore differ only where their scenes differ.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from modaverse.errors import DataError
from modaverse.interfaces import Pixels
from modaverse.toybox.pictures import animals, objects, vehicles
from modaverse.toybox.pictures.backdrops import draw_backdrop
from modaverse.toybox.pictures.colours import RGB, Paint, paint
from modaverse.toybox.pictures.look import Look
from modaverse.toybox.pictures.sketch import Sketch, rasterise, rotation
from modaverse.toybox.world import SIZES, ClipScene, Scene

SIZE = 64
_MAX_SIZE = 256

DRAWN: dict[str, Callable[[Sketch, Look], None]] = {
    "cat": animals.cat, "dog": animals.dog, "bird": animals.bird, "frog": animals.frog,
    "car": vehicles.car, "train": vehicles.train, "boat": vehicles.boat, "rocket": vehicles.rocket,
    "bell": objects.bell, "drum": objects.drum, "clock": objects.clock, "phone": objects.phone,
}  # fmt: skip
FLYING = frozenset({"bird", "rocket"})
_TILT = {"rocket": 16.0, "bird": 9.0, "bell": 4.0, "clock": 9.0, "train": 3.0, "boat": 6.0}  # degrees; 5 else
_EXTENT = {"small": (22.5, 27.5), "large": (38.5, 47.5)}  # longest side in pixels of 64


@dataclass(frozen=True, slots=True, eq=False)
class Truth:
    """Where the thing of a render is, in pixels, x to the right and y down.

    `centre` is the centroid (x, y) of what can be seen of it, `box` its bounds (left, top, right, bottom),
    right and bottom exclusive, `mask` (size, size) says which pixels are mostly the thing's.
    """

    centre: tuple[float, float]
    box: tuple[int, int, int, int]
    mask: NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Pose:
    """The draws that stay the same when attributes are edited; each in [-1, 1] unless said."""

    vary: tuple[float, ...]
    mirror: bool
    tilt: float
    stretch: float
    extent: float
    across: float
    down: float
    phase: float  # 0..1


@dataclass(frozen=True, slots=True)
class Streams:
    pose: Pose
    shade: int
    backdrop: int
    motion: int


def streams(rng: np.random.Generator | int) -> Streams:
    rng = np.random.default_rng(rng)  # a Generator passes through unchanged
    pose, shade, backdrop, motion = (int(x) for x in rng.integers(0, 2**62, 4))
    u = np.random.default_rng(pose).uniform(-1.0, 1.0, 16).tolist()
    drawn = Pose(tuple(u[:8]), u[8] > 0, u[9], u[10], u[11], u[12], u[13], 0.5 + 0.5 * u[14])
    return Streams(drawn, shade, backdrop, motion)


def between(bounds: tuple[float, float], draw: float) -> float:
    return bounds[0] + (bounds[1] - bounds[0]) * (0.5 + 0.5 * draw)


def check(scene: Scene | ClipScene, size: int) -> None:
    if scene.thing not in DRAWN:
        raise DataError(f"Toybox has no thing {scene.thing!r}", hint=f"Choose one of {', '.join(DRAWN)}.")
    if scene.size not in SIZES:
        raise DataError(f"Toybox has no size {scene.size!r}", hint=f"Choose one of {', '.join(SIZES)}.")
    if not 16 <= size <= _MAX_SIZE:
        raise DataError(f"a picture of {size} pixels cannot be rendered", hint=f"Choose 16 to {_MAX_SIZE}.")


@dataclass(frozen=True, slots=True)
class Fit:
    """How a thing's own coordinates become pixels around its place, and how far it then reaches."""

    matrix: NDArray[np.float64]
    shift: NDArray[np.float64]
    width: float
    height: float


def draw_thing(thing: str, shades: Paint, pose: Pose, phase: float) -> Sketch:
    sketch = Sketch()
    DRAWN[thing](sketch, Look(shades, pose.vary, phase))
    return sketch


def fit_sketch(sketch: Sketch, pose: Pose, thing: str, extent: float, lean: float = 0.0) -> Fit:
    stretch = np.diag([1.0 + 0.05 * pose.stretch, 1.0 - 0.05 * pose.stretch])
    mirror = np.diag([-1.0 if pose.mirror else 1.0, 1.0])
    turn = rotation(_TILT.get(thing, 5.0) * pose.tilt + lean)
    matrix = turn @ mirror @ stretch
    low, high = sketch.place(matrix, np.zeros(2)).bounds()
    scale = extent / float((high - low).max())
    width, height = (high - low) * scale
    return Fit(matrix * scale, -(low + high) / 2 * scale, float(width), float(height))


def _shadow(stage: NDArray[np.float32], x: float, y: float, rx: float, ry: float, strength: float) -> None:
    """Darken `stage` in place by a soft flat ellipse."""
    size = stage.shape[0]
    grid = np.arange(size, dtype=np.float32) + 0.5
    far = ((grid[None, :] - x) / rx) ** 2 + ((grid[:, None] - y) / ry) ** 2
    stage *= 1.0 - strength * np.clip(1.5 * (1.0 - far), 0.0, 1.0)[..., None]


@dataclass(frozen=True, slots=True, eq=False)
class Layers:
    """A render before it is put together.

    `backdrop` and `stage` (the backdrop with the thing's shadow) are (size, size, 3), `thing` is
    (size, size, 4) with premultiplied colour and cover in 0..1; all float32, colours in 0..255.
    """

    backdrop: NDArray[np.float32]
    stage: NDArray[np.float32]
    thing: NDArray[np.float32]
    outline: RGB

    @property
    def cover(self) -> NDArray[np.float32]:
        return self.thing[..., 3]

    def compose(self) -> NDArray[np.uint8]:
        """The thing, lit from above and with a soft outline, before the stage: (size, size, 3)."""
        size = self.stage.shape[0]
        cover = self.thing[..., 3]
        rows = np.flatnonzero(cover.max(axis=1) > 0.5)
        lit = np.ones(size, dtype=np.float32)
        if len(rows):
            below = np.clip((np.arange(size) - rows[0]) / max(rows[-1] - rows[0], 1), 0.0, 1.0)
            lit = (1.05 - 0.15 * below).astype(np.float32)
        body = np.minimum(self.thing[..., :3] * lit[:, None, None], 255.0 * cover[..., None])
        ink = Image.fromarray((255 * cover).astype(np.uint8)).filter(
            ImageFilter.GaussianBlur(0.75 * size / SIZE)
        )
        halo = np.maximum(np.clip(2.6 * np.asarray(ink, dtype=np.float32) / 255.0, 0.0, 1.0), cover)[
            ..., None
        ]
        line = np.asarray(self.outline, dtype=np.float32)
        picture = self.stage * (1.0 - halo) + (halo - cover[..., None]) * line + body
        composed: NDArray[np.uint8] = np.clip(picture + 0.5, 0, 255).astype(np.uint8)
        return composed


def truth_of(layers: Layers) -> Truth:
    cover = layers.cover
    mask = cover > 0.5
    total = max(float(cover.sum()), 1e-6)
    grid = np.arange(cover.shape[0]) + 0.5
    centre = float(cover.sum(axis=0) @ grid) / total, float(cover.sum(axis=1) @ grid) / total
    xs, ys = np.flatnonzero(mask.any(axis=0)), np.flatnonzero(mask.any(axis=1))
    box = (int(xs[0]), int(ys[0]), int(xs[-1]) + 1, int(ys[-1]) + 1) if len(xs) else (0, 0, 0, 0)
    return Truth(centre, box, mask)


def oversample(size: int) -> int:
    return 4 if size <= 128 else 2


def place_thing(pose: Pose, thing: str, fit: Fit) -> tuple[float, float]:
    """The centre in a picture, in pixels of 64: in view, with its foot on the ground unless it flies."""
    room = max((SIZE - fit.width) / 2 - 1.5, 0.0)
    x = SIZE / 2 + room * pose.across
    if thing in FLYING:
        top, low = fit.height / 2 + 1.5, SIZE - fit.height / 2 - 5.0
        return x, between((top, max(top, low)), pose.down)
    foot = between((0.79 * SIZE, 0.955 * SIZE), pose.down)
    return x, max(foot, fit.height + 1.5) - fit.height / 2


def draw_layers(
    sketch: Sketch, fit: Fit, backdrop: NDArray[np.float32], place: tuple[float, float], ground: float,
    outline: RGB,
) -> Layers:  # fmt: skip
    """A sketch at `place` before a backdrop, with its shadow on the `ground`; both in pixels of 64."""
    size = backdrop.shape[0]
    unit = size / SIZE
    stage = backdrop.copy()
    height = max(ground - (place[1] + fit.height / 2), 0.0)
    near = max(1.0 - height / 50.0, 0.3)
    reach = (0.5 * fit.width * near * unit, (1.6 + 0.055 * fit.width) * unit)
    _shadow(stage, place[0] * unit, ground * unit, *reach, 0.42 * near)
    placed = sketch.place(fit.matrix * unit, (fit.shift + place) * unit)
    return Layers(backdrop, stage, rasterise(placed, size, oversample(size), 0.55 * unit), outline)


def picture_layers(scene: Scene, rng: np.random.Generator | int, *, size: int = SIZE) -> Layers:
    """A picture of `scene` in layers.

    Raises:
        DataError: the scene names something that Toybox does not have, or `size` is not 16..256.
    """
    check(scene, size)
    drawn = streams(rng)
    shades = paint(scene.colour, np.random.default_rng(drawn.shade))
    sketch = draw_thing(scene.thing, shades, drawn.pose, drawn.pose.phase)
    fit = fit_sketch(sketch, drawn.pose, scene.thing, between(_EXTENT[scene.size], drawn.pose.extent))
    x, y = place_thing(drawn.pose, scene.thing, fit)
    ground = 0.93 * SIZE if scene.thing in FLYING else y + fit.height / 2 - 0.4
    backdrop = draw_backdrop(scene.backdrop, size, oversample(size), drawn.backdrop)
    return draw_layers(sketch, fit, backdrop, (x, y), ground, shades.line)


def render_picture_with_truth(
    scene: Scene, rng: np.random.Generator | int, *, size: int = SIZE
) -> tuple[Pixels, Truth]:
    """One picture of `scene`, (size, size, 3), and where its thing is.

    `rng` (a generator, or a seed) decides all that the scene leaves open: the same state gives
    the same bytes.

    Raises:
        DataError: the scene names something that Toybox does not have, or `size` is not 16..256.
    """
    layers = picture_layers(scene, rng, size=size)
    return Pixels(layers.compose()), truth_of(layers)


def render_picture(scene: Scene, rng: np.random.Generator | int, *, size: int = SIZE) -> Pixels:
    """One picture of `scene`; see `render_picture_with_truth`."""
    return Pixels(picture_layers(scene, rng, size=size).compose())


def render_pair(
    before: Scene, after: Scene, rng: np.random.Generator | int, *, size: int = SIZE
) -> tuple[Pixels, Pixels]:
    """Two pictures from one draw of pose, place, shade and backdrop: only what the scenes say differs."""
    seed = int(np.random.default_rng(rng).integers(0, 2**62))
    return render_picture(before, seed, size=size), render_picture(after, seed, size=size)
