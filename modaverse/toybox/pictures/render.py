"""Scenes to pictures and clips.

Everything a scene does not say is drawn from independent streams of one seed: pose, shade, backdrop, motion.
Two renders from one seed therefore differ only where their scenes differ.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from modaverse.errors import DataError
from modaverse.interfaces import Frames, Pixels
from modaverse.toybox.pictures import animals, objects, vehicles
from modaverse.toybox.pictures.backdrops import draw_backdrop
from modaverse.toybox.pictures.colours import Paint, paint
from modaverse.toybox.pictures.look import Look
from modaverse.toybox.pictures.sketch import Sketch, rasterise, rotation
from modaverse.toybox.world import SIZES, ClipScene, Scene

SIZE = 64
FRAMES = 9
FPS = 8.0
_MAX_SIZE = 256

DRAWN: dict[str, Callable[[Sketch, Look], None]] = {
    "cat": animals.cat, "dog": animals.dog, "bird": animals.bird, "frog": animals.frog,
    "car": vehicles.car, "train": vehicles.train, "boat": vehicles.boat, "rocket": vehicles.rocket,
    "bell": objects.bell, "drum": objects.drum, "clock": objects.clock, "phone": objects.phone,
}  # fmt: skip
_FLYING = frozenset({"bird", "rocket"})
_TILT = {"rocket": 16.0, "bird": 9.0, "bell": 4.0, "clock": 9.0, "train": 3.0, "boat": 6.0}  # degrees; 5 else
_EXTENT = {"small": (22.5, 27.5), "large": (38.5, 47.5)}  # longest side in pixels of 64
_CLIP_EXTENT = {"small": (22.5, 27.0), "large": (38.5, 43.0)}  # smaller, so that there is room to move
_TRAVEL = {"slow": (10.0, 14.0), "fast": (26.0, 34.0)}  # pixels of 64 from the first frame to the last
_CYCLES = {"slow": 0.9, "fast": 1.8}


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
class _Pose:
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
class _Streams:
    pose: _Pose
    shade: int
    backdrop: int
    motion: int


def _streams(rng: np.random.Generator | int) -> _Streams:
    rng = np.random.default_rng(rng)  # a Generator passes through unchanged
    pose, shade, backdrop, motion = (int(x) for x in rng.integers(0, 2**62, 4))
    u = np.random.default_rng(pose).uniform(-1.0, 1.0, 16).tolist()
    drawn = _Pose(tuple(u[:8]), u[8] > 0, u[9], u[10], u[11], u[12], u[13], 0.5 + 0.5 * u[14])
    return _Streams(drawn, shade, backdrop, motion)


def _between(bounds: tuple[float, float], draw: float) -> float:
    return bounds[0] + (bounds[1] - bounds[0]) * (0.5 + 0.5 * draw)


def _check(scene: Scene | ClipScene, size: int) -> None:
    if scene.thing not in DRAWN:
        raise DataError(f"Toybox has no thing {scene.thing!r}", hint=f"Choose one of {', '.join(DRAWN)}.")
    if scene.size not in SIZES:
        raise DataError(f"Toybox has no size {scene.size!r}", hint=f"Choose one of {', '.join(SIZES)}.")
    if not 16 <= size <= _MAX_SIZE:
        raise DataError(f"a picture of {size} pixels cannot be rendered", hint=f"Choose 16 to {_MAX_SIZE}.")


@dataclass(frozen=True, slots=True)
class _Fit:
    """How a thing's own coordinates become pixels around its place, and how far it then reaches."""

    matrix: NDArray[np.float64]
    shift: NDArray[np.float64]
    width: float
    height: float


def _sketch(thing: str, shades: Paint, pose: _Pose, phase: float) -> Sketch:
    sketch = Sketch()
    DRAWN[thing](sketch, Look(shades, pose.vary, phase))
    return sketch


def _fit(sketch: Sketch, pose: _Pose, thing: str, extent: float, lean: float = 0.0) -> _Fit:
    stretch = np.diag([1.0 + 0.05 * pose.stretch, 1.0 - 0.05 * pose.stretch])
    mirror = np.diag([-1.0 if pose.mirror else 1.0, 1.0])
    turn = rotation(_TILT.get(thing, 5.0) * pose.tilt + lean)
    matrix = turn @ mirror @ stretch
    low, high = sketch.place(matrix, np.zeros(2)).bounds()
    scale = extent / float((high - low).max())
    width, height = (high - low) * scale
    return _Fit(matrix * scale, -(low + high) / 2 * scale, float(width), float(height))


def _shadow(stage: NDArray[np.float32], x: float, y: float, rx: float, ry: float, strength: float) -> None:
    """Darken `stage` in place by a soft flat ellipse."""
    size = stage.shape[0]
    grid = np.arange(size, dtype=np.float32) + 0.5
    far = ((grid[None, :] - x) / rx) ** 2 + ((grid[:, None] - y) / ry) ** 2
    stage *= 1.0 - strength * np.clip(1.5 * (1.0 - far), 0.0, 1.0)[..., None]


def _compose(
    stage: NDArray[np.float32], thing: NDArray[np.float32], outline: tuple[int, int, int]
) -> NDArray[np.uint8]:
    """The thing, lit from above and with a soft outline, before the backdrop."""
    size = stage.shape[0]
    cover = thing[..., 3]
    rows = np.flatnonzero(cover.max(axis=1) > 0.5)
    lit = np.ones(size, dtype=np.float32)
    if len(rows):
        lit = 1.05 - 0.15 * np.clip((np.arange(size) - rows[0]) / max(rows[-1] - rows[0], 1), 0.0, 1.0)
    body = np.minimum(thing[..., :3] * lit[:, None, None].astype(np.float32), 255.0 * cover[..., None])
    ink = Image.fromarray((255 * cover).astype(np.uint8)).filter(ImageFilter.GaussianBlur(0.75 * size / SIZE))
    halo = np.maximum(np.clip(2.6 * np.asarray(ink, dtype=np.float32) / 255.0, 0.0, 1.0), cover)[..., None]
    line = np.asarray(outline, dtype=np.float32)
    picture = stage * (1.0 - halo) + (halo - cover[..., None]) * line + body
    return np.clip(picture + 0.5, 0, 255).astype(np.uint8)


def _truth(cover: NDArray[np.float32]) -> Truth:
    mask = cover > 0.5
    total = max(float(cover.sum()), 1e-6)
    grid = np.arange(cover.shape[0]) + 0.5
    centre = float(cover.sum(axis=0) @ grid) / total, float(cover.sum(axis=1) @ grid) / total
    xs, ys = np.flatnonzero(mask.any(axis=0)), np.flatnonzero(mask.any(axis=1))
    box = (int(xs[0]), int(ys[0]), int(xs[-1]) + 1, int(ys[-1]) + 1) if len(xs) else (0, 0, 0, 0)
    return Truth(centre, box, mask)


def _oversample(size: int) -> int:
    return 4 if size <= 128 else 2


def _place(pose: _Pose, thing: str, fit: _Fit) -> tuple[float, float]:
    """The centre in a picture, in pixels of 64: in view, with its foot on the ground unless it flies."""
    room = max((SIZE - fit.width) / 2 - 1.5, 0.0)
    x = SIZE / 2 + room * pose.across
    if thing in _FLYING:
        top, low = fit.height / 2 + 1.5, SIZE - fit.height / 2 - 5.0
        return x, _between((top, max(top, low)), pose.down)
    foot = _between((0.79 * SIZE, 0.955 * SIZE), pose.down)
    return x, max(foot, fit.height + 1.5) - fit.height / 2


def render_picture_with_truth(
    scene: Scene, rng: np.random.Generator | int, *, size: int = SIZE
) -> tuple[Pixels, Truth]:
    """One picture of `scene`, (size, size, 3), and where its thing is.

    `rng` (a generator, or a seed) decides all that the scene leaves open; the same state gives the same bytes.

    Raises:
        DataError: the scene names something that Toybox does not have, or `size` is not 16..256.
    """
    _check(scene, size)
    drawn = _streams(rng)
    shades = paint(scene.colour, np.random.default_rng(drawn.shade))
    sketch = _sketch(scene.thing, shades, drawn.pose, drawn.pose.phase)
    fit = _fit(sketch, drawn.pose, scene.thing, _between(_EXTENT[scene.size], drawn.pose.extent))
    x, y = _place(drawn.pose, scene.thing, fit)
    ground = 0.93 * SIZE if scene.thing in _FLYING else y + fit.height / 2 - 0.4
    stage = draw_backdrop(scene.backdrop, size, _oversample(size), drawn.backdrop)
    return _draw(sketch, fit, stage, (x, y), ground, shades.line)


def render_picture(scene: Scene, rng: np.random.Generator | int, *, size: int = SIZE) -> Pixels:
    """One picture of `scene`; see `render_picture_with_truth`."""
    return render_picture_with_truth(scene, rng, size=size)[0]


def _draw(
    sketch: Sketch, fit: _Fit, stage: NDArray[np.float32], place: tuple[float, float], ground: float,
    outline: tuple[int, int, int],
) -> tuple[Pixels, Truth]:  # fmt: skip
    """Put a sketch at `place` (pixels of 64) before a backdrop, with its shadow on the `ground`."""
    size = stage.shape[0]
    unit = size / SIZE
    stage = stage.copy()
    height = max(ground - (place[1] + fit.height / 2), 0.0)
    near = max(1.0 - height / 50.0, 0.3)
    _shadow(
        stage, place[0] * unit, ground * unit, 0.5 * fit.width * near * unit, (1.6 + 0.055 * fit.width) * unit,
        0.42 * near,
    )  # fmt: skip
    placed = sketch.place(fit.matrix * unit, (fit.shift + place) * unit)
    thing = rasterise(placed, size, _oversample(size), 0.55 * unit)
    return Pixels(_compose(stage, thing, outline)), _truth(thing[..., 3])


def render_pair(
    before: Scene, after: Scene, rng: np.random.Generator | int, *, size: int = SIZE
) -> tuple[Pixels, Pixels]:
    """Two pictures from one draw of pose, place, shade and backdrop: only what the scenes say differs."""
    seed = int(np.random.default_rng(rng).integers(0, 2**62))
    return render_picture(before, seed, size=size), render_picture(after, seed, size=size)


# ------------------------------------------------------------------------------------------ clips


def _path(scene: ClipScene, pose: _Pose, fit: _Fit, draws: list[float]) -> NDArray[np.float64]:
    """Where the centre is in each frame: (FRAMES, 2), pixels of 64."""
    horizontal = scene.direction in ("left", "right")
    reach = fit.width if horizontal else fit.height
    travel = _between(_TRAVEL[scene.speed], draws[0])
    # In view throughout where that is possible; otherwise a little of it leaves the frame at both ends.
    travel = max(min(travel, SIZE - 0.84 * reach), _TRAVEL[scene.speed][0])
    room = max(SIZE - 1.0 - reach - travel, 0.0)
    first = SIZE / 2 - travel / 2 + 0.5 * room * draws[1]
    along = first + travel * np.linspace(0.0, 1.0, FRAMES)
    if scene.direction in ("left", "up"):
        along = along[::-1]
    x, y = _place(pose, scene.thing, fit)
    path = np.empty((FRAMES, 2))
    path[:, 0], path[:, 1] = (along, y) if horizontal else (x, along)
    return path


_BOB = {"frog": 3.0, "bird": 1.2, "cat": 0.5, "dog": 0.6, "boat": 0.8}


def render_clip_with_truth(
    scene: ClipScene, rng: np.random.Generator | int, *, size: int = SIZE
) -> tuple[Frames, tuple[Truth, ...]]:
    """One clip of `scene`, (9, size, size, 3) at 8 frames a second, and where its thing is in each frame.

    Raises:
        DataError: as for pictures, or an unknown direction or speed.
    """
    _check(scene, size)
    if scene.direction not in ("left", "right", "up", "down") or scene.speed not in _TRAVEL:
        raise DataError(
            f"Toybox has no motion {scene.direction!r}, {scene.speed!r}",
            hint="Directions are left, right, up and down; speeds slow and fast.",
        )
    drawn = _streams(rng)
    draws = np.random.default_rng(drawn.motion).uniform(-1.0, 1.0, 8).tolist()
    pose = _facing(scene, drawn.pose, draws[2])
    shades = paint(scene.colour, np.random.default_rng(drawn.shade))
    lean = {"left": -22.0, "right": 22.0}.get(scene.direction, 0.0) if scene.thing == "rocket" else 0.0
    still = _sketch(scene.thing, shades, pose, 0.0)
    fit = _fit(still, pose, scene.thing, _between(_CLIP_EXTENT[scene.size], pose.extent), lean)
    path = _path(scene, pose, fit, draws)
    foot = float(path[:, 1].max()) + fit.height / 2 - 0.4
    ground = max(foot, 0.93 * SIZE) if scene.thing in _FLYING else foot
    hop = _BOB.get(scene.thing, 0.0) if scene.direction in ("left", "right") else 0.0
    frames, truths = [], []
    for k in range(FRAMES):
        time = k / (FRAMES - 1)
        phase = pose.phase + _CYCLES[scene.speed] * time
        bob = hop * (abs(math.sin(2 * math.pi * phase)) - 0.5)
        sketch = _sketch(scene.thing, shades, pose, phase)
        stage = draw_backdrop(scene.backdrop, size, _oversample(size), drawn.backdrop, time)
        place = (float(path[k, 0]), float(path[k, 1]) - bob)
        pixels, truth = _draw(sketch, fit, stage, place, ground, shades.line)
        frames.append(pixels.array)
        truths.append(truth)
    return Frames(np.stack(frames), FPS), tuple(truths)


def _facing(scene: ClipScene, pose: _Pose, draw: float) -> _Pose:
    """Things look where they go, but for one in eight: a still picture may be set moving either way."""
    if scene.direction not in ("left", "right"):
        return pose
    backwards = draw > 0.75
    return replace(pose, mirror=(scene.direction == "left") != backwards)


def render_clip(scene: ClipScene, rng: np.random.Generator | int, *, size: int = SIZE) -> Frames:
    """One clip of `scene`; see `render_clip_with_truth`."""
    return render_clip_with_truth(scene, rng, size=size)[0]
