"""The four vehicles, each drawn into a sketch, facing right."""

from __future__ import annotations

import math

from modaverse.toybox.pictures.colours import (
    FLAME,
    FLAME_CORE,
    FOAM,
    GLASS,
    LAMP,
    METAL,
    SNOW_WHITE,
    TYRE,
    WATER,
    WOOD,
)  # fmt: skip
from modaverse.toybox.pictures.look import Look
from modaverse.toybox.pictures.sketch import Sketch


def _wheel(s: Sketch, x: float, y: float, radius: float, phase: float) -> None:
    """A tyre with a hub and a spoke, turned by `phase` of a whole turn."""
    s.circle(x, y, radius, TYRE)
    s.circle(x, y, radius * 0.58, METAL)
    angle = 2 * math.pi * phase
    dx, dy = radius * 0.52 * math.cos(angle), radius * 0.52 * math.sin(angle)
    s.line([(x - dx, y - dy), (x + dx, y + dy)], radius * 0.26, TYRE)


def car(s: Sketch, look: Look) -> None:
    p, v = look.paint, look.vary
    front, back, roof = 0.42 + 0.06 * v[0], -0.46 + 0.06 * v[1], -0.52 + 0.03 * v[2]
    s.blob(
        [(-0.82, 0.02), (-0.68, -0.1), (back, roof + 0.03), (0.0, roof - 0.03),
         (front - 0.2, roof + 0.03), (front + 0.12, -0.1), (0.7, 0.1)],
        p.main, edge=p.line,
    )  # fmt: skip
    s.blob(
        [(-0.96, 0.32), (-1.0, 0.08), (-0.84, -0.08), (0.0, -0.1), (0.6, -0.08), (0.94, 0.04),
         (1.0, 0.32), (0.8, 0.4), (0, 0.42), (-0.8, 0.4)],
        p.main,
    )  # fmt: skip
    s.polygon(
        [(-0.02, roof + 0.1), (-0.02, -0.06), (back - 0.06, -0.06), (back + 0.08, roof + 0.1)],
        GLASS,
        edge=p.line,
    )
    s.polygon(
        [(0.1, roof + 0.1), (front - 0.2, roof + 0.1), (front + 0.05, -0.06), (0.1, -0.06)],
        GLASS,
        edge=p.line,
    )
    s.line([(-0.84, 0.04), (0.62, 0.04)], 0.07, p.light)
    s.box(-0.97, 0.26, 0.97, 0.38, p.dark, radius=0.05)
    s.line([(0.02, 0.13), (0.14, 0.13)], 0.06, p.line)
    s.ellipse(0.87, 0.12, 0.1, 0.09, LAMP, edge=p.line)
    s.box(-0.99, 0.06, -0.88, 0.2, (226, 70, 66), radius=0.03)
    for x in (-0.54, 0.54):
        s.circle(x, 0.36, 0.29, p.line)
        _wheel(s, x, 0.37, 0.24, look.phase)


def train(s: Sketch, look: Look) -> None:
    p, v = look.paint, look.vary
    puff = look.phase % 1.0
    smoke = (236, 238, 244)
    for k in range(2):
        age = (puff + 0.5 * k) % 1.0
        s.circle(0.5 - 0.42 * age, -0.74 - 0.16 * age, 0.1 + 0.1 * age, smoke, edge=(180, 186, 200))
    s.polygon([(0.74, 0.26), (1.0, 0.52), (0.7, 0.52)], METAL, edge=p.line)
    s.box(-0.92, 0.24, 0.86, 0.42, TYRE, radius=0.04)
    s.polygon([(0.42, -0.2), (0.36, -0.6), (0.74, -0.6), (0.68, -0.2)], p.dark, edge=p.line)
    s.box(0.31, -0.68, 0.79, -0.55, p.main, radius=0.05, edge=p.line)
    s.ellipse(0.08, -0.24, 0.15, 0.16 + 0.02 * v[0], p.light, edge=p.line)
    s.box(-0.3, -0.24, 0.86, 0.28, p.main, radius=0.16)
    s.line([(-0.2, -0.12), (0.72, -0.12)], 0.09, p.light)
    for x in (0.06, 0.36):
        s.box(x, -0.22, x + 0.08, 0.27, p.dark)
    s.circle(0.85, 0.0, 0.11, LAMP, edge=p.line)
    top = -0.66 + 0.04 * v[1]
    s.box(-0.86, top, -0.22, 0.3, p.main, radius=0.04, edge=p.line)
    s.box(-0.96, top - 0.14, -0.12, top + 0.04, p.dark, radius=0.07, edge=p.line)
    s.box(-0.72, top + 0.16, -0.36, top + 0.5, GLASS, radius=0.05, edge=p.line)
    s.box(-0.82, 0.06, -0.26, 0.15, p.light)
    for x, r in ((-0.6, 0.25), (-0.05, 0.25), (0.46, 0.25)):
        _wheel(s, x, 0.46 + 0.25 - r, r, look.phase)


def boat(s: Sketch, look: Look) -> None:
    p, v = look.paint, look.vary
    lean = 0.05 * v[0] + 0.03 * math.sin(2 * math.pi * look.phase)
    s.line([(-0.02, 0.4), (-0.02 + lean, -0.92)], 0.09, WOOD)
    s.blob(
        [(0.08, 0.22), (0.07 + 0.5 * lean, -0.35), (0.06 + lean, -0.86), (0.36 + 0.5 * lean, -0.42),
         (0.62 + 0.04 * v[1], 0.0), (0.74, 0.22), (0.4, 0.24)],
        p.main, edge=p.line,
    )  # fmt: skip
    s.polygon([(0.1, -0.12), (0.52, -0.12), (0.63, 0.06), (0.1, 0.06)], p.light)
    s.blob(
        [(-0.1, 0.2), (-0.11 + 0.5 * lean, -0.25), (-0.1 + lean, -0.66), (-0.34, -0.2),
         (-0.56 - 0.04 * v[2], 0.2), (-0.3, 0.22)],
        p.dark, edge=p.line,
    )  # fmt: skip
    s.polygon([(-0.96, 0.3), (0.98, 0.3), (0.66, 0.76), (-0.62, 0.76)], p.main, edge=p.line)
    s.box(-0.98, 0.26, 1.0, 0.4, p.light, radius=0.06, edge=p.line)
    s.polygon([(-0.76, 0.58), (0.8, 0.58), (0.66, 0.78), (-0.62, 0.78)], p.dark)
    drift = 0.33 * (look.phase % 1.0) - 0.16
    waves = [(-0.95, 0.78)]
    for k in range(6):
        waves.append((-0.82 + 0.33 * k + 0.5 * drift, 0.66 if k % 2 == 0 else 0.78))
    waves += [(0.97, 0.78), (0.8, 0.92), (-0.8, 0.92)]
    s.blob(waves, WATER, edge=FOAM)


def rocket(s: Sketch, look: Look) -> None:
    p, v = look.paint, look.vary
    flicker = 0.12 * math.sin(2 * math.pi * look.phase) + 0.05 * v[0]
    s.blob([(-0.22, 0.5), (0.22, 0.5), (0.17, 0.74), (0.0, 0.98 + flicker), (-0.17, 0.74)], FLAME)
    s.blob([(-0.11, 0.5), (0.11, 0.5), (0.08, 0.66), (0.0, 0.8 + flicker), (-0.08, 0.66)], FLAME_CORE)
    wide = 0.37 + 0.03 * v[1]
    for side in (-1, 1):
        s.polygon(
            [(side * 0.26, 0.05), (side * (0.66 + 0.04 * v[2]), 0.5), (side * 0.64, 0.72),
             (side * 0.22, 0.5)],
            p.dark, edge=p.line,
        )  # fmt: skip
    s.box(-0.22, 0.44, 0.22, 0.58, TYRE, radius=0.04)
    s.blob(
        [(0, -0.98), (0.2, -0.72), (wide - 0.03, -0.35), (wide, 0.05), (0.28, 0.5), (0, 0.52),
         (-0.28, 0.5), (-wide, 0.05), (-wide + 0.03, -0.35), (-0.2, -0.72)],
        p.main,
    )  # fmt: skip
    s.blob([(0, -0.98), (0.2, -0.72), (0.29, -0.52), (0, -0.46), (-0.29, -0.52), (-0.2, -0.72)], p.dark)
    s.line([(-0.22, -0.34), (-0.26, 0.1), (-0.2, 0.36)], 0.08, p.light)
    s.circle(0.03, -0.14, 0.2, METAL, edge=p.line)
    s.circle(0.03, -0.14, 0.13, GLASS, edge=p.line)
    s.circle(0.0, -0.18, 0.045, SNOW_WHITE)
    s.polygon([(0, 0.12), (0.07, 0.4), (0.0, 0.62), (-0.07, 0.4)], p.dark, edge=p.line)
