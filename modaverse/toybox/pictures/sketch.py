"""Shapes in a thing's own coordinates, collected first and rasterised once.

A thing draws itself into a `Sketch`, facing right, x to the right and y down, roughly within [-1, 1].
The whole sketch is then turned, mirrored and fitted to its true extent in one affine map, so that a size
in pixels is exact whatever the shapes are.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from modaverse.toybox.pictures.colours import RGB

Points = NDArray[np.float64]
Point = tuple[float, float]

_ANGLES = np.linspace(0.0, 2.0 * math.pi, 28, endpoint=False)
_CIRCLE: Points = np.stack([np.cos(_ANGLES), np.sin(_ANGLES)], axis=1)

_CAP: Points = np.stack([np.cos(_ANGLES), np.sin(_ANGLES)], axis=1)[2:14:2]


def _spline_matrix(steps: int) -> NDArray[np.float64]:
    """Catmull-Rom weights (steps, 4) of the four points around a segment."""
    t = np.arange(steps) / steps
    return 0.5 * np.stack(
        [-t + 2 * t**2 - t**3, 2 - 5 * t**2 + 3 * t**3, t + 4 * t**2 - 3 * t**3, -(t**2) + t**3], axis=1
    )


_SPLINE = _spline_matrix(5)


def smooth_closed(points: Sequence[Point]) -> Points:
    """A closed Catmull-Rom curve through `points`: (5·n, 2)."""
    p = np.asarray(points, dtype=np.float64)
    quads = np.stack([np.roll(p, 1, axis=0), p, np.roll(p, -1, axis=0), np.roll(p, -2, axis=0)], axis=1)
    curve: Points = np.einsum("sk,nkd->nsd", _SPLINE, quads).reshape(-1, 2)
    return curve


def smooth_open(points: Sequence[Point]) -> Points:
    """An open Catmull-Rom curve from the first to the last of `points`."""
    p = np.asarray(points, dtype=np.float64)
    padded = np.concatenate([2 * p[:1] - p[1:2], p, 2 * p[-1:] - p[-2:-1]])
    quads = np.stack([padded[:-3], padded[1:-2], padded[2:-1], padded[3:]], axis=1)
    curve = np.einsum("sk,nkd->nsd", _SPLINE, quads).reshape(-1, 2)
    return np.concatenate([curve, p[-1:]])


def stroke(curve: Points, width: float, end_width: float | None = None) -> Points:
    """The outline of a round-ended stroke along `curve`, tapering to `end_width` where that is given."""
    step = np.empty_like(curve)
    step[1:-1] = curve[2:] - curve[:-2]
    step[0], step[-1] = curve[1] - curve[0], curve[-1] - curve[-2]
    step /= np.maximum(np.hypot(step[:, 0], step[:, 1]), 1e-9)[:, None]
    taper = 0.0 if end_width is None else (end_width - width) / (len(curve) - 1)
    radius = (width + taper * np.arange(len(curve)))[:, None] / 2
    normal = np.stack([-step[:, 1], step[:, 0]], axis=1) * radius
    end = curve[-1] + _CAP[:, :1] * normal[-1] + _CAP[:, 1:] * step[-1] * radius[-1]
    start = curve[0] - _CAP[:, :1] * normal[0] - _CAP[:, 1:] * step[0] * radius[0]
    return np.concatenate([curve + normal, end, (curve - normal)[::-1], start])


@dataclass(frozen=True, slots=True)
class Shape:
    points: Points
    fill: RGB
    edge: RGB | None


class Sketch:
    """An ordered list of filled shapes."""

    def __init__(self) -> None:
        self.shapes: list[Shape] = []

    def polygon(self, points: Sequence[Point] | Points, fill: RGB, *, edge: RGB | None = None) -> None:
        self.shapes.append(Shape(np.asarray(points, dtype=np.float64), fill, edge))

    def blob(self, points: Sequence[Point], fill: RGB, *, edge: RGB | None = None) -> None:
        """A smooth closed curve through `points`."""
        self.polygon(smooth_closed(points), fill, edge=edge)

    def ellipse(
        self,
        x: float,
        y: float,
        rx: float,
        ry: float,
        fill: RGB,
        *,
        turn: float = 0.0,
        edge: RGB | None = None,
    ) -> None:
        """An ellipse around (x, y), turned clockwise by `turn` degrees."""
        points = _CIRCLE * np.array([rx, ry])
        if turn:
            points = points @ rotation(turn).T
        self.polygon(points + np.array([x, y]), fill, edge=edge)

    def circle(self, x: float, y: float, radius: float, fill: RGB, *, edge: RGB | None = None) -> None:
        self.polygon(_CIRCLE * radius + np.array([x, y]), fill, edge=edge)

    def box(
        self, x0: float, y0: float, x1: float, y1: float, fill: RGB, *, radius: float = 0.0,
        edge: RGB | None = None,
    ) -> None:  # fmt: skip
        """An upright rectangle, with round corners where `radius` is given."""
        if radius <= 0:
            self.polygon([(x0, y0), (x1, y0), (x1, y1), (x0, y1)], fill, edge=edge)
            return
        quarter = _CIRCLE * radius
        centres = np.array(
            [(x1 - radius, y1 - radius), (x0 + radius, y1 - radius), (x0 + radius, y0 + radius),
             (x1 - radius, y0 + radius)]
        )  # fmt: skip
        self.polygon((quarter.reshape(4, 7, 2) + centres[:, None]).reshape(-1, 2), fill, edge=edge)

    def line(
        self, points: Sequence[Point], width: float, fill: RGB, *, end_width: float | None = None,
        edge: RGB | None = None,
    ) -> None:  # fmt: skip
        """A smooth round-ended stroke through `points`."""
        curve = smooth_open(points) if len(points) > 2 else np.asarray(points, dtype=np.float64)
        self.polygon(stroke(curve, width, end_width), fill, edge=edge)

    def place(self, matrix: NDArray[np.float64], shift: NDArray[np.float64]) -> Sketch:
        """A copy with every point mapped to `matrix @ point + shift`."""
        placed = Sketch()
        placed.shapes = [Shape(s.points @ matrix.T + shift, s.fill, s.edge) for s in self.shapes]
        return placed

    def bounds(self) -> tuple[Points, Points]:
        """The least and the greatest corner, each (2,)."""
        points = np.concatenate([shape.points for shape in self.shapes])
        return points.min(axis=0), points.max(axis=0)


def rotation(degrees: float) -> NDArray[np.float64]:
    """A clockwise turn (y points down): (2, 2)."""
    angle = math.radians(degrees)
    return np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])


def rasterise(sketch: Sketch, size: int, oversample: int, edge_width: float) -> NDArray[np.float32]:
    """Colour and cover of a placed sketch (in pixels): (size, size, 4), float32, colour premultiplied.

    Colour is in 0..255, cover in 0..1. `edge_width` is in pixels of the result.
    """
    low, high = sketch.bounds()
    corner = np.clip(np.floor(low) - 1, 0, size).astype(int)  # only the part that is drawn on
    width, height = (
        np.clip(np.ceil(high) + 1, corner + 1, max(size, *(corner + 1))).astype(int) - corner
    ).tolist()
    layer = Image.new("RGBA", (width * oversample, height * oversample), (0, 0, 0, 0))
    draw = ImageDraw.Draw(layer)
    pen = max(round(edge_width * oversample), 1)
    for shape in sketch.shapes:
        # Pillow counts pixel centres, hence half a pixel.
        corners = ((shape.points - corner) * oversample - 0.5).ravel().tolist()
        draw.polygon(corners, fill=(*shape.fill, 255))
        if shape.edge is not None:
            draw.line([*corners, *corners[:4]], fill=(*shape.edge, 255), width=pen)
    small = np.asarray(layer.convert("RGBa").reduce(oversample), dtype=np.float32)
    whole = np.zeros((size, size, 4), dtype=np.float32)
    x, y = corner.tolist()
    part = whole[y : y + height, x : x + width]
    part[...] = small[: part.shape[0], : part.shape[1]]
    whole[..., 3] /= 255.0
    return whole
