"""The eight colours as sets of shades, with a jitter that never crosses into another colour."""

from __future__ import annotations

import colorsys
from dataclasses import dataclass

import numpy as np

from modaverse.errors import DataError

RGB = tuple[int, int, int]

# Hue in degrees, saturation and value in 0..1. Red, orange and yellow lie 25° and more apart; brown is
# orange's hue at half its value.
_BASE: dict[str, tuple[float, float, float]] = {
    "red": (356.0, 0.82, 0.86),
    "orange": (27.0, 0.88, 0.97),
    "yellow": (50.0, 0.80, 0.98),
    "green": (133.0, 0.62, 0.67),
    "blue": (217.0, 0.78, 0.88),
    "purple": (279.0, 0.62, 0.74),
    "white": (220.0, 0.02, 0.96),
    "brown": (24.0, 0.63, 0.50),
}
_JITTER = {"orange": 3.0, "brown": 4.0, "yellow": 3.0, "red": 4.0, "white": 0.0}  # degrees; 6 for the others

BLACK: RGB = (38, 34, 44)
TYRE: RGB = (58, 58, 70)
METAL: RGB = (176, 182, 194)
SNOW_WHITE: RGB = (255, 255, 255)
GLASS: RGB = (196, 232, 246)
PINK: RGB = (244, 150, 160)
BEAK: RGB = (250, 166, 40)
WOOD: RGB = (150, 104, 66)
FLAME: RGB = (252, 138, 36)
FLAME_CORE: RGB = (255, 226, 110)
LAMP: RGB = (255, 236, 140)
WATER: RGB = (92, 176, 222)
FOAM: RGB = (226, 244, 252)


@dataclass(frozen=True, slots=True)
class Paint:
    """The shades of one colour: `main` fills, `light` and `pale` shine, `dark` shades, `line` outlines."""

    main: RGB
    light: RGB
    pale: RGB
    dark: RGB
    line: RGB


def mix(a: RGB, b: RGB, share: float) -> RGB:
    """`a` with `share` (0..1) of `b` mixed in."""
    return (
        round(a[0] + (b[0] - a[0]) * share),
        round(a[1] + (b[1] - a[1]) * share),
        round(a[2] + (b[2] - a[2]) * share),
    )


def hsv(hue: float, saturation: float, value: float) -> RGB:
    """RGB of a hue in degrees, saturation and value clipped to 0..1."""
    s, v = min(max(saturation, 0.0), 1.0), min(max(value, 0.0), 1.0)
    r, g, b = colorsys.hsv_to_rgb((hue % 360.0) / 360.0, s, v)
    return round(255 * r), round(255 * g), round(255 * b)


def paint(colour: str, rng: np.random.Generator) -> Paint:
    """One shade of `colour`. Draws the same number of values for every colour, so that pairs keep step.

    Raises:
        DataError: `colour` is none of Toybox's.
    """
    if colour not in _BASE:
        raise DataError(f"Toybox has no colour {colour!r}", hint=f"Choose one of {', '.join(_BASE)}.")
    du, ds, dv = (float(x) for x in rng.uniform(-1.0, 1.0, 3))
    hue, saturation, value = _BASE[colour]
    if colour == "white":
        main = hsv(210 + 25 * du, 0.015 + 0.012 * ds, 0.965 + 0.015 * dv)
        return Paint(main, (255, 255, 255), (255, 253, 246), (205, 211, 224), (84, 90, 112))
    hue += _JITTER.get(colour, 6.0) * du
    saturation += 0.06 * ds
    value += 0.035 * dv
    main = hsv(hue, saturation, value)
    return Paint(
        main=main,
        light=mix(hsv(hue, saturation * 0.85, value * 1.1), (255, 255, 255), 0.25),
        pale=mix(main, (255, 255, 255), 0.78),
        dark=hsv(hue, min(saturation * 1.08, 1.0), value * 0.74),
        line=hsv(hue, min(saturation, 0.75), value * 0.32),
    )
