"""The four objects, each drawn into a sketch."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np

from modaverse.toybox.pictures.colours import BLACK, METAL, TYRE, WOOD
from modaverse.toybox.pictures.look import Look
from modaverse.toybox.pictures.sketch import Sketch, rotation

_KNOB = (120, 80, 50)


def bell(s: Sketch, look: Look) -> None:
    p, v = look.paint, look.vary
    swing = math.sin(2 * math.pi * look.phase)
    inner = Sketch()
    inner.circle(-0.16 * swing, 0.72, 0.17, TYRE, edge=BLACK)
    inner.circle(0.0, -0.76, 0.16, METAL, edge=p.line)
    inner.circle(0.0, -0.76, 0.07, p.line)
    w = 0.42 + 0.03 * v[0]
    side = [(0.22, -0.64), (w, -0.4), (w + 0.06, 0.0), (0.58, 0.34), (0.78, 0.56)]
    inner.blob([(0, -0.7), *side, (0, 0.62), *[(-x, y) for x, y in reversed(side)]], p.main)
    inner.line([(-0.24, -0.42), (-0.3, -0.05), (-0.4, 0.26)], 0.13, p.light)
    inner.blob(
        [(0.14, -0.6), (w, -0.36), (w + 0.05, 0.0), (0.6, 0.38), (0.36, 0.38), (0.3, 0.0), (0.28, -0.36)],
        p.dark,
    )
    inner.line([(-0.74, 0.5), (0.74, 0.5)], 0.2, p.main, edge=p.line)
    inner.line([(-0.62, 0.46), (0.3, 0.46)], 0.06, p.light)
    turned = inner.place(rotation(12.0 * swing + 2.0 * v[1]), np.array([0.0, 0.0]))
    s.shapes.extend(turned.shapes)


def drum(s: Sketch, look: Look) -> None:
    p, v = look.paint, look.vary
    beat = 0.12 * math.sin(2 * math.pi * look.phase)
    top, bottom, w = -0.16, 0.6 + 0.04 * v[0], 0.78
    s.ellipse(0, bottom, w, 0.24, p.dark)
    s.box(-w, top, w, bottom, p.main)
    s.ellipse(0, bottom - 0.08, w, 0.24, p.main)
    s.box(0.42, top, w, bottom - 0.04, p.dark)
    s.box(-0.66, top, -0.48, bottom, p.light)
    marks = [(-0.74, 0.1), (-0.38, 0.66), (0.0, 0.26), (0.38, 0.66), (0.74, 0.1)]
    for a, b in pairwise(marks):
        s.line([a, b], 0.075, p.pale)
    s.ellipse(0, top + 0.08, w + 0.05, 0.3, p.dark, edge=p.line)
    s.ellipse(0, top - 0.02, w + 0.05, 0.28, p.light, edge=p.line)
    s.ellipse(0, top - 0.02, w - 0.1, 0.2, p.pale)
    for side, lift in ((-1, beat), (1, -beat)):
        end = (side * 0.2, top - 0.1 + 0.5 * lift)
        s.line([(side * 0.88, -0.68 + lift + 0.06 * v[2]), end], 0.1, WOOD)
        s.circle(*end, 0.11, _KNOB)


def clock(s: Sketch, look: Look) -> None:
    p, v = look.paint, look.vary
    shake = 0.02 * math.sin(4 * math.pi * look.phase)
    for side in (-1, 1):
        s.line([(side * 0.4, 0.6), (side * 0.58, 0.9)], 0.19, p.dark, edge=p.line)
        s.ellipse(side * 0.5 + shake, -0.62, 0.32, 0.22, p.main, turn=side * 38, edge=p.line)
        s.line([(side * 0.32, -0.5), (side * 0.4, -0.62)], 0.12, p.dark)
    s.line([(0, -0.62), (0, -0.84)], 0.14, METAL)
    s.circle(0, 0.08, 0.78, p.main, edge=p.line)
    s.ellipse(-0.4, -0.38, 0.22, 0.1, p.light, turn=-42)
    s.circle(0, 0.08, 0.53, p.pale, edge=p.line)
    for k in range(4):
        a = k * math.pi / 2
        s.circle(0.41 * math.cos(a), 0.08 + 0.41 * math.sin(a), 0.055, p.line)
    minute = 2 * math.pi * (look.phase + 0.5 * v[0])
    hour = math.pi * v[1]
    for angle, length, width in ((hour, 0.25, 0.13), (minute, 0.38, 0.1)):
        s.line([(0, 0.08), (length * math.sin(angle), 0.08 - length * math.cos(angle))], width, BLACK)
    s.circle(0, 0.08, 0.085, BLACK)


def phone(s: Sketch, look: Look) -> None:
    p, v = look.paint, look.vary
    ring = 0.06 * math.sin(4 * math.pi * look.phase)
    s.blob(
        [(-0.42, -0.22), (0.42, -0.22), (0.62, 0.2), (0.84 + 0.03 * v[0], 0.58), (0.7, 0.72), (0, 0.74),
         (-0.7, 0.72), (-0.84 - 0.03 * v[0], 0.58), (-0.62, 0.2)],
        p.main,
    )  # fmt: skip
    s.line([(-0.7, 0.68), (0.7, 0.68)], 0.14, p.dark)
    for side in (-1, 1):
        s.box(side * 0.3 - 0.08, -0.4, side * 0.3 + 0.08, -0.12, p.dark)
    s.circle(0, 0.24, 0.36, p.light, edge=p.line)
    for k in range(8):
        a = 2 * math.pi * (k / 8 + 0.06 * v[1])
        s.circle(0.24 * math.cos(a), 0.24 + 0.24 * math.sin(a), 0.065, p.line)
    s.circle(0, 0.24, 0.12, p.pale)
    hand = Sketch()
    hand.line([(-0.7, -0.42), (-0.35, -0.62), (0.35, -0.62), (0.7, -0.42)], 0.22, p.main, edge=p.line)
    for side in (-1, 1):
        hand.ellipse(side * 0.74, -0.34, 0.23, 0.17, p.main, turn=-side * 15, edge=p.line)
        hand.ellipse(side * 0.76, -0.25, 0.17, 0.08, p.dark, turn=-side * 15)
    hand.line([(-0.42, -0.63), (0.2, -0.66)], 0.07, p.light)
    s.shapes.extend(hand.place(rotation(60 * ring), np.array([0.0, -abs(ring)])).shapes)
