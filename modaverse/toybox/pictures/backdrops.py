"""The five backdrops, drawn on an oversampled canvas in coordinates 0..1 (y down).

Every backdrop takes all of its variation from `rng` in a fixed order and drifts a little with `time`
(0..1 over a clip): clouds wander, stars twinkle, snow falls, waves run.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from PIL import Image, ImageDraw

from modaverse.errors import DataError
from modaverse.toybox.pictures.colours import RGB, hsv, mix


class Stage:
    """An RGB canvas of `pixels` × `pixels` with drawing in unit coordinates."""

    def __init__(self, pixels: int, top: RGB, bottom: RGB, until: float) -> None:
        share = np.clip(np.linspace(0.0, 1.0 / until, pixels), 0.0, 1.0)[:, None, None]
        column = np.asarray(top) * (1 - share) + np.asarray(bottom) * share
        self.image = Image.fromarray(column.round().astype(np.uint8)).resize(
            (pixels, pixels), Image.Resampling.NEAREST
        )
        self.scale = pixels
        self._draw = ImageDraw.Draw(self.image)

    def ellipse(self, x: float, y: float, rx: float, ry: float, fill: RGB) -> None:
        k = self.scale
        self._draw.ellipse(((x - rx) * k, (y - ry) * k, (x + rx) * k, (y + ry) * k), fill=fill)

    def polygon(self, points: list[tuple[float, float]], fill: RGB) -> None:
        self._draw.polygon([(x * self.scale, y * self.scale) for x, y in points], fill=fill)

    def ridge(self, height: float, swell: float, waves: float, shift: float, fill: RGB) -> None:
        """Everything below a wavy line around `height`."""
        xs = np.linspace(0.0, 1.0, 25)
        ys = height + swell * np.sin(2 * math.pi * (waves * xs + shift))
        self.polygon([(0.0, 1.01), *zip(xs.tolist(), ys.tolist(), strict=True), (1.0, 1.01)], fill)


def _jitter(colour: tuple[float, float, float], draws: np.ndarray) -> RGB:
    """A hue/saturation/value triple moved a little by three draws in [-1, 1]."""
    h, s, v = colour
    return hsv(h + 6 * float(draws[0]), s * (1 + 0.12 * float(draws[1])), v * (1 + 0.04 * float(draws[2])))


def _scattered(k: int, offset: float, jitter: float) -> float:
    """The k-th of points spread evenly without a visible order (steps of the golden ratio), in 0..1."""
    return (0.618034 * k + 0.5 * float(offset) + jitter) % 1.0


def _cloud(stage: Stage, x: float, y: float, size: float, fill: RGB) -> None:
    shade = mix(fill, (140, 165, 200), 0.25)
    for dx, dy, r in ((-1.0, 0.1, 0.62), (0.95, 0.12, 0.6)):
        stage.ellipse(x + dx * size, y + dy * size, r * size, r * 0.8 * size, shade)
    stage.ellipse(x, y + 0.2 * size, 1.35 * size, 0.45 * size, shade)
    for dx, dy, r in ((-0.9, 0.0, 0.6), (0.0, -0.25, 0.85), (0.9, 0.02, 0.55)):
        stage.ellipse(x + dx * size, y + dy * size, r * size, r * 0.8 * size, fill)


def _clouds(stage: Stage, u: np.ndarray, count: int, high: float, low: float, time: float) -> None:
    for k in range(count):
        a, b, c = (float(x) for x in u[3 * k : 3 * k + 3])
        x = (k + 0.5 + 0.7 * a) / count + 0.05 * time
        _cloud(stage, x, high + (low - high) * (0.5 + 0.5 * b), 0.075 + 0.02 * c, (255, 255, 255))


def _day(pixels: int, u: np.ndarray, time: float) -> Stage:
    horizon = 0.76 + 0.04 * float(u[0])
    stage = Stage(pixels, _jitter((205, 0.5, 0.94), u[1:4]), _jitter((200, 0.2, 0.98), u[4:7]), horizon)
    x, y, r = 0.5 + 0.36 * float(u[7]), 0.17 + 0.04 * float(u[8]), 0.1 + 0.015 * float(u[9])
    for k in range(10):
        a = 2 * math.pi * (k / 10 + 0.1 * float(u[10]) + 0.02 * time)
        side, out = 0.13, 1.65 * r
        stage.polygon(
            [(x + r * math.cos(a - side * 2), y + r * math.sin(a - side * 2)),
             (x + out * math.cos(a), y + out * math.sin(a)),
             (x + r * math.cos(a + side * 2), y + r * math.sin(a + side * 2))],
            (255, 226, 120),
        )  # fmt: skip
    stage.ellipse(x, y, r * 1.12, r * 1.12, (255, 240, 175))
    stage.ellipse(x, y, r * 0.95, r * 0.95, (255, 212, 70))
    _clouds(stage, u[12:], 2, 0.2, 0.46, time)
    ground = _jitter((70, 0.3, 0.85), u[20:23])
    stage.ridge(horizon - 0.05, 0.015, 0.9, float(u[23]), mix(ground, (120, 170, 190), 0.45))
    stage.ridge(horizon, 0.008, 0.7, float(u[24]), ground)
    stage.ridge(horizon + 0.13, 0.01, 0.8, float(u[25]), mix(ground, (190, 170, 110), 0.25))
    return stage


def _night(pixels: int, u: np.ndarray, time: float) -> Stage:
    horizon = 0.78 + 0.04 * float(u[0])
    top, low = _jitter((236, 0.72, 0.24), u[1:4]), _jitter((246, 0.5, 0.46), u[4:7])
    stage = Stage(pixels, top, low, horizon)
    for k in range(14):
        a, b, c = (float(x) for x in u[30 + 3 * k : 33 + 3 * k])
        x, y = _scattered(k, u[29], 0.04 * a), 0.03 + (horizon - 0.12) * (k + 0.5 + 0.4 * b) / 14
        twinkle = 1.0 + 0.25 * math.sin(2 * math.pi * (time + c))
        r = (0.011 + 0.004 * c) * twinkle
        stage.ellipse(x, y, r, r, (255, 248, 214))
    x, y, r = 0.5 + 0.36 * float(u[7]), 0.17 + 0.04 * float(u[8]), 0.105 + 0.015 * float(u[9])
    stage.ellipse(x, y, r * 1.3, r * 1.3, mix(top, (255, 246, 200), 0.16))
    stage.ellipse(x, y, r, r, (255, 244, 196))
    stage.ellipse(x - 0.25 * r, y - 0.2 * r, 0.24 * r, 0.24 * r, (234, 218, 160))
    stage.ellipse(x + 0.35 * r, y + 0.3 * r, 0.2 * r, 0.2 * r, (234, 218, 160))
    ground = _jitter((232, 0.5, 0.32), u[20:23])
    stage.ridge(horizon - 0.05, 0.03, 1.0, float(u[23]), mix(ground, top, 0.35))
    stage.ridge(horizon, 0.012, 0.7, float(u[24]), ground)
    stage.ridge(horizon + 0.13, 0.01, 0.8, float(u[25]), mix(ground, (90, 96, 150), 0.22))
    return stage


def _meadow(pixels: int, u: np.ndarray, time: float) -> Stage:
    horizon = 0.46 + 0.05 * float(u[0])
    stage = Stage(pixels, _jitter((200, 0.32, 0.97), u[1:4]), _jitter((190, 0.14, 0.99), u[4:7]), horizon)
    _clouds(stage, u[12:], 2, 0.08, 0.2, time)
    grass = _jitter((98, 0.52, 0.78), u[20:23])
    stage.ridge(horizon - 0.02, 0.06, 1.1, float(u[23]), mix(grass, (120, 190, 190), 0.4))
    stage.ridge(horizon + 0.06, 0.045, 0.8, float(u[24]), mix(grass, (230, 240, 160), 0.3))
    stage.ridge(horizon + 0.2, 0.025, 0.9, float(u[25]), grass)
    petals: tuple[RGB, ...] = ((255, 255, 255), (255, 150, 180), (255, 226, 90), (214, 150, 240))
    for k in range(13):
        a, b, c = (float(x) for x in u[30 + 3 * k : 33 + 3 * k])
        depth = (k + 0.5 + 0.4 * b) / 13
        x, y = _scattered(k, u[29], 0.04 * a), horizon + 0.2 + (0.97 - horizon - 0.2) * depth
        r = 0.012 + 0.012 * depth
        x += 0.006 * math.sin(2 * math.pi * (time + c))
        for dx, dy in ((-1, 0), (1, 0), (0, -1), (0, 1)):
            stage.ellipse(x + dx * r, y + dy * r, r * 0.8, r * 0.8, petals[k % 4])
        stage.ellipse(x, y, r * 0.7, r * 0.7, (250, 190, 60))
    return stage


def _beach(pixels: int, u: np.ndarray, time: float) -> Stage:
    horizon, shore = 0.4 + 0.04 * float(u[0]), 0.66 + 0.03 * float(u[8])
    stage = Stage(pixels, _jitter((196, 0.4, 0.97), u[1:4]), _jitter((40, 0.12, 1.0), u[4:7]), horizon)
    _clouds(stage, u[12:], 1, 0.08, 0.22, time)
    sea = _jitter((190, 0.62, 0.78), u[26:29])
    stage.ridge(horizon, 0.0, 1.0, 0.0, mix(sea, (20, 70, 140), 0.25))
    stage.ridge(horizon + 0.1, 0.006, 3.0, float(u[9]) + 0.3 * time, sea)
    stage.ridge(horizon + 0.19, 0.008, 2.5, float(u[10]) - 0.3 * time, mix(sea, (190, 245, 235), 0.35))
    sand = _jitter((41, 0.34, 0.95), u[20:23])
    reach = 0.008 * math.sin(2 * math.pi * (time + float(u[11])))
    stage.ridge(shore - 0.03 + reach, 0.012, 1.3, float(u[23]), (246, 252, 252))
    stage.ridge(shore + reach, 0.012, 1.3, float(u[23]), mix(sand, (170, 130, 80), 0.3))
    stage.ridge(shore + 0.035, 0.012, 1.3, float(u[23]), sand)
    for k in range(6):
        a, b = float(u[30 + 3 * k]), float(u[31 + 3 * k])
        x, y = _scattered(k, u[29], 0.05 * a), shore + 0.09 + (0.96 - shore - 0.09) * (k + 0.5 + 0.4 * b) / 6
        if k % 3 == 0:
            stage.ellipse(x, y, 0.024, 0.018, (250, 240, 226))
            stage.ellipse(x, y + 0.006, 0.014, 0.009, (238, 170, 150))
        else:
            stage.ellipse(x, y, 0.02, 0.009, mix(sand, (160, 120, 70), 0.35))
    return stage


def _snow(pixels: int, u: np.ndarray, time: float) -> Stage:
    horizon = 0.62 + 0.04 * float(u[0])
    stage = Stage(pixels, _jitter((214, 0.28, 0.76), u[1:4]), _jitter((214, 0.12, 0.92), u[4:7]), horizon)
    snow = _jitter((214, 0.03, 0.98), u[20:23])
    stage.ridge(horizon - 0.07, 0.05, 0.9, float(u[23]), mix(snow, (150, 176, 214), 0.42))
    for k in range(3):
        a, b, c = (float(x) for x in u[12 + 3 * k : 15 + 3 * k])
        x, base, h = (k + 0.5 + 0.5 * a) / 3, horizon + 0.04 + 0.01 * b, 0.24 + 0.04 * c
        for tier, width in ((0.0, 0.1), (0.3, 0.08), (0.58, 0.06)):
            y = base - h * tier
            stage.polygon([(x - width, y), (x, y - 0.46 * h), (x + width, y)], (70, 116, 112))
            stage.polygon(
                [(x - 0.45 * width, y - 0.25 * h), (x, y - 0.46 * h), (x + 0.45 * width, y - 0.25 * h)], snow
            )
    stage.ridge(horizon + 0.04, 0.015, 0.8, float(u[24]), mix(snow, (170, 194, 226), 0.14))
    stage.ridge(horizon + 0.18, 0.02, 0.7, float(u[25]), mix(snow, (170, 194, 226), 0.3))
    stage.ridge(horizon + 0.205, 0.02, 0.7, float(u[25]), snow)
    for k in range(16):
        a, b, c = (float(x) for x in u[30 + 3 * k : 33 + 3 * k])
        x = _scattered(k, u[29], 0.04 * a + 0.01 * math.sin(2 * math.pi * (time + c)))
        y = ((k + 0.5 + 0.4 * b) / 16 + 0.22 * time) % 1.0
        r = 0.015 + 0.005 * c
        stage.ellipse(x, y, r, r, (255, 255, 255))
    return stage


_DRAWN: dict[str, Callable[[int, np.ndarray, float], Stage]] = {
    "day": _day, "night": _night, "meadow": _meadow, "beach": _beach, "snow": _snow,
}  # fmt: skip


def draw_backdrop(name: str, size: int, oversample: int, seed: int, time: float = 0.0) -> np.ndarray:
    """One backdrop: (size, size, 3), float32 in 0..255, decided by `seed` alone; `time` is 0..1 in a clip.

    Raises:
        DataError: `name` is none of Toybox's backdrops.
    """
    if name not in _DRAWN:
        raise DataError(f"Toybox has no backdrop {name!r}", hint=f"Choose one of {', '.join(_DRAWN)}.")
    draws = np.random.default_rng(seed).uniform(-1.0, 1.0, 80)
    stage = _DRAWN[name](size * oversample, draws, time)
    return np.asarray(stage.image.reduce(oversample), dtype=np.float32)
