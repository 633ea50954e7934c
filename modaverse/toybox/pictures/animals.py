"""The four animals, each drawn into a sketch, facing right."""

from __future__ import annotations

import math

from modaverse.toybox.pictures.colours import BEAK, BLACK, PINK, SNOW_WHITE
from modaverse.toybox.pictures.look import Look
from modaverse.toybox.pictures.sketch import Sketch


def _eye(s: Sketch, x: float, y: float, radius: float) -> None:
    s.ellipse(x, y, radius, radius * 1.2, BLACK)
    s.circle(x + 0.3 * radius, y - 0.45 * radius, radius * 0.42, SNOW_WHITE)


def _legs(s: Sketch, look: Look, xs: tuple[float, float], top: float, foot: float, width: float) -> None:
    """Four legs at a walk: the far pair in shade, each pair half a cycle apart."""
    swing = 0.15 * math.sin(2 * math.pi * look.phase)
    p = look.paint
    for x in xs:
        s.line([(x + 0.1, top), (x + 0.1 - swing, foot - 0.03)], width, p.dark)
    for x in xs:
        s.line([(x - 0.04, top), (x - 0.04 + swing, foot)], width, p.main)
        s.ellipse(x + swing, foot + 0.02, width * 0.62, width * 0.42, p.light)


def cat(s: Sketch, look: Look) -> None:
    p, v = look.paint, look.vary
    wag = 0.16 * math.sin(2 * math.pi * look.phase) + 0.12 * v[0]
    s.line(
        [(-0.55, 0.08), (-0.88, -0.08), (-0.92 + wag, -0.42), (-0.7 + wag, -0.72)], 0.2, p.main, edge=p.line
    )
    s.circle(-0.71 + wag, -0.72, 0.11, p.light)
    _legs(s, look, (-0.46, 0.18), 0.25, 0.68, 0.22)
    s.ellipse(-0.13, 0.14, 0.6 + 0.03 * v[1], 0.35 + 0.03 * v[2], p.main)
    for x in (-0.46, -0.22, 0.02):
        s.line([(x, -0.18), (x + 0.03, 0.06)], 0.1, p.dark, end_width=0.05)
    s.ellipse(-0.1, 0.38, 0.36, 0.1, p.light)
    hx, hy = 0.47 + 0.03 * v[3], -0.2 + 0.03 * v[4]
    tip = 0.05 * v[5]
    for side in (-1, 1):
        s.polygon(
            [(hx + side * 0.44, hy - 0.08), (hx + side * (0.38 + tip), hy - 0.66),
             (hx + side * 0.08, hy - 0.3)],
            p.main, edge=p.line,
        )  # fmt: skip
        s.polygon(
            [
                (hx + side * 0.36, hy - 0.2),
                (hx + side * (0.34 + tip), hy - 0.5),
                (hx + side * 0.16, hy - 0.3),
            ],
            PINK,
        )
    s.ellipse(hx, hy, 0.47, 0.4, p.main, edge=p.line)
    s.ellipse(hx, hy - 0.3, 0.07, 0.1, p.dark)
    s.ellipse(hx, hy + 0.19, 0.24, 0.16, p.pale)
    for side in (-1, 1):
        _eye(s, hx + side * 0.21 + 0.02, hy - 0.05, 0.1)
    s.polygon([(hx - 0.08, hy + 0.09), (hx + 0.08, hy + 0.09), (hx, hy + 0.19)], PINK)
    s.line([(hx - 0.13, hy + 0.21), (hx, hy + 0.29), (hx + 0.13, hy + 0.21)], 0.05, p.line)


def dog(s: Sketch, look: Look) -> None:
    p, v = look.paint, look.vary
    wag = 0.14 * math.sin(4 * math.pi * look.phase) + 0.08 * v[0]
    s.line(
        [(-0.6, -0.02), (-0.78 + 0.5 * wag, -0.25), (-0.8 + wag, -0.52)],
        0.2,
        p.main,
        end_width=0.1,
        edge=p.line,
    )
    _legs(s, look, (-0.5, 0.16), 0.2, 0.7, 0.23)
    s.ellipse(-0.14, 0.12, 0.6 + 0.03 * v[1], 0.31 + 0.03 * v[2], p.main)
    s.ellipse(-0.34, -0.02, 0.24, 0.15, p.dark, turn=-8)
    s.ellipse(-0.08, 0.34, 0.36, 0.09, p.light)
    hx, hy = 0.4 + 0.03 * v[3], -0.3 + 0.03 * v[4]
    s.ellipse(hx + 0.05, hy + 0.26, 0.08, 0.17, PINK, turn=-50)
    s.ellipse(hx + 0.36, hy + 0.3, 0.08, 0.14, PINK)
    s.ellipse(hx, hy, 0.38, 0.37, p.main, edge=p.line)
    s.ellipse(hx + 0.34, hy + 0.13, 0.27, 0.17, p.pale, edge=p.line)
    s.ellipse(hx + 0.02, hy + 0.16, 0.28, 0.18, p.main)
    s.ellipse(hx + 0.33, hy + 0.14, 0.24, 0.14, p.pale)
    s.ellipse(hx + 0.54, hy + 0.05, 0.12, 0.1, BLACK)
    _eye(s, hx + 0.17, hy - 0.1, 0.1)
    s.ellipse(hx - 0.24, hy + 0.12, 0.16, 0.36 + 0.03 * v[5], p.dark, turn=14 + 5 * v[6], edge=p.line)


def bird(s: Sketch, look: Look) -> None:
    p, v = look.paint, look.vary
    flap = math.sin(2 * math.pi * look.phase)
    for x in (-0.06, 0.2):
        s.line([(x, 0.45), (x + 0.02, 0.8)], 0.09, BEAK)
        s.line([(x - 0.06, 0.82), (x + 0.16, 0.82)], 0.1, BEAK)
    s.polygon(
        [(-0.4, -0.05), (-1.0, -0.32 + 0.05 * v[0]), (-0.95, 0.02), (-0.86, 0.22), (-0.35, 0.32)],
        p.dark,
        edge=p.line,
    )
    s.polygon([(0.6, -0.46), (1.0, -0.28), (0.6, -0.12)], BEAK, edge=p.line)
    s.blob(
        [(-0.62, 0.02), (-0.25, -0.26), (0.05, -0.62), (0.4, -0.74), (0.7, -0.5), (0.7, -0.16), (0.58, 0.28),
         (0.15, 0.56 + 0.04 * v[1]), (-0.35, 0.42)],
        p.main,
    )  # fmt: skip
    s.ellipse(0.36, 0.2, 0.24, 0.27, p.pale, turn=25)
    _eye(s, 0.42 + 0.02 * v[2], -0.4, 0.12)
    s.ellipse(0.55, -0.18, 0.09, 0.07, PINK)
    lift = 0.5 * flap + 0.15
    s.blob(
        [(0.18, -0.08), (0.12, 0.2), (-0.2, 0.32 - 0.3 * lift), (-0.68, 0.3 - 1.0 * lift),
         (-0.5, 0.06 - 0.6 * lift), (-0.2, -0.16 - 0.1 * lift)],
        p.dark, edge=p.line,
    )  # fmt: skip
    s.line([(0.02, 0.06), (-0.36, 0.16 - 0.6 * lift)], 0.07, p.main)


def frog(s: Sketch, look: Look) -> None:
    p, v = look.paint, look.vary
    puff = 0.03 * math.sin(2 * math.pi * look.phase)
    for side in (-1, 1):
        s.ellipse(side * 0.74, 0.66, 0.3, 0.11, p.dark, edge=p.line)
        s.ellipse(side * 0.68, 0.34, 0.28, 0.34, p.main, turn=side * 18, edge=p.line)
    s.ellipse(0, 0.18, 0.68 + puff + 0.03 * v[0], 0.53 - puff, p.main)
    s.ellipse(0, 0.44, 0.38 + puff, 0.25, p.pale)
    for side in (-1, 1):
        s.line([(side * 0.4, 0.3), (side * 0.36, 0.62)], 0.2, p.main, edge=p.dark)
        s.ellipse(side * 0.36, 0.68, 0.22, 0.1, p.main, edge=p.line)
    s.ellipse(0, -0.08, 0.66 + 0.03 * v[1], 0.36, p.main, edge=None)
    gaze = 0.05 * v[3]
    for side in (-1, 1):
        x = side * (0.4 + 0.03 * v[2])
        s.circle(x, -0.42, 0.29, p.main)
        s.circle(x, -0.44, 0.2, SNOW_WHITE, edge=p.line)
        s.circle(x + gaze, -0.43, 0.115, BLACK)
        s.circle(x + gaze + 0.04, -0.48, 0.045, SNOW_WHITE)
        s.ellipse(side * 0.46, 0.06, 0.1, 0.07, PINK)
    s.line([(-0.36, -0.04), (-0.18, 0.1), (0.0, 0.14), (0.18, 0.1), (0.36, -0.04)], 0.075, p.line)
    s.ellipse(0, -0.3, 0.14, 0.05, p.light)
