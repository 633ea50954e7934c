"""Car, train, boat and rocket: engines, horns, steam, waves and thrust."""

from __future__ import annotations

import numpy as np

from modaverse.toybox.sounds.plan import Plan
from modaverse.toybox.sounds.synth import (
    SAMPLES,
    SECONDS,
    Array,
    Gain,
    band,
    curve,
    loud,
    noise,
    peaked,
    phase_of,
    place,
    resonances,
    seconds,
    swell,
    time,
    tone,
    voice,
    wander,
)


def car(plan: Plan) -> Array:
    """A running engine that gives gas with every honk of a two-note horn."""
    interval = plan.between(1.2, 1.28)
    nasal = (3000.0 if plan.high else 1500.0) * plan.between(0.93, 1.07)
    duty = plan.between(0.45, 0.6)

    def horn(frequency: Array, where: Array) -> Array:
        return resonances(frequency, (nasal, 0.45 * nasal), (1100.0, 700.0), (1.0, 0.6))

    honks = np.zeros(SAMPLES, dtype=np.float32)
    gas = np.zeros(SAMPLES, dtype=np.float32)
    for onset, level in zip(plan.onsets, plan.levels, strict=True):
        n = seconds(duty * plan.period * plan.between(0.95, 1.05))
        lower = np.full(n, plan.pitch, dtype=np.float32)
        honk = voice(plan.rng, lower, horn, tilt=0.6) + voice(plan.rng, lower * interval, horn, tilt=0.6)
        place(honks, peaked(honk) * swell(n, 0.012, 0.03), onset, level)
        place(gas, swell(seconds(0.9 * plan.period), 0.4 * plan.period, 0.4 * plan.period), onset)
    return honks + plan.between(0.3, 0.42) * _engine(plan, np.minimum(gas, 1.0))


def _engine(plan: Plan, gas: Array) -> Array:
    """Combustion: low harmonics that jitter, and louder and higher with `gas` ((n,), 0 to 1)."""
    idle = (105.0 if plan.high else 62.0) * plan.between(0.93, 1.07)
    speed = idle * curve((1.0, plan.between(0.95, 1.15), plan.between(0.95, 1.2)), SAMPLES)
    speed = speed * (1.0 + 0.12 * gas + 0.02 * wander(plan.rng, SAMPLES, 60.0))
    body = plan.between(2.2, 3.0) * idle

    def block(frequency: Array, where: Array) -> Array:
        return resonances(frequency, (body, 3.2 * body), (1.2 * idle, 3.0 * idle), (1.0, 0.4))

    hum = loud(voice(plan.rng, speed, block, tilt=0.4, ceiling=1400.0), 0.35)
    hum += 0.06 * loud(noise(plan.rng, SAMPLES, band(4.0 * body, 0.8)))
    return hum * (0.65 + 0.35 * gas)


def train(plan: Plan) -> Array:
    """Steam: a chuff for each stroke, every fourth stronger, and a whistle of three notes over them."""
    factor = 1.45 if plan.high else 0.75
    centre = 700.0 * factor * plan.between(0.93, 1.07)
    spread = plan.between(0.7, 0.95)
    strokes = np.zeros(SAMPLES, dtype=np.float32)
    accent = int(plan.rng.integers(4))
    for index, (onset, level) in enumerate(zip(plan.onsets, plan.levels, strict=True)):
        length = min(0.36, 0.8 * plan.period) * plan.between(0.95, 1.05)
        n = seconds(length)
        puff = noise(plan.rng, n, band(centre * plan.between(0.95, 1.05), spread))
        puff *= curve((0.0, 1.0, 0.75, 0.4, 0.22, 0.1, 0.04, 0.0), n)
        place(strokes, loud(puff, 0.24), onset, level * (1.25 if index % 4 == accent else 0.9))
    return strokes + _whistle(plan)


def _whistle(plan: Plan) -> Array:
    """A chord of pipes that scoops up to its pitch, with the hiss of the steam."""
    length = plan.between(0.7, 1.2)
    n = seconds(length)
    bend = plan.pitch * curve((0.9, 1.0, 1.0, 1.0, 1.0, 0.96), n) * (1.0 + 0.006 * tone(6.0, n))
    chord = np.zeros(n, dtype=np.float32)
    for ratio, level in zip((1.0, 1.25, 1.5), (1.0, 0.85, 0.7), strict=True):
        phase = phase_of(bend * (ratio * plan.between(0.99, 1.01)), n)
        turns = (phase - np.floor(phase)).astype(np.float32) * np.float32(2 * np.pi)
        chord += np.float32(level) * (np.sin(turns) + np.float32(0.2) * np.sin(2 * turns))
    chord = loud(chord) + 0.12 * loud(noise(plan.rng, n, band(2.2 * plan.pitch, 0.6)))
    track = np.zeros(SAMPLES, dtype=np.float32)
    start = plan.between(0.05, SECONDS - length - 0.05)
    place(track, chord * swell(n, 0.09, 0.16), start, plan.between(0.13, 0.2))
    return track


def boat(plan: Plan) -> Array:
    """Blasts of a fog horn, low and round, over waves that lap at the hull."""
    bore = plan.pitch * plan.between(2.6, 3.2)
    duty = plan.between(0.58, 0.72)
    beating = plan.between(1.006, 1.014)

    def funnel(frequency: Array, where: Array) -> Array:
        opening = np.interp(where, (0.0, 0.2, 0.85, 1.0), (0.75, 1.0, 1.0, 0.8))
        return resonances(frequency, (bore * opening, 2.1 * bore), (1.6 * plan.pitch, 500.0), (1.0, 0.35))

    blasts = np.zeros(SAMPLES, dtype=np.float32)
    for onset, level in zip(plan.onsets, plan.levels, strict=True):
        n = seconds(duty * plan.period * plan.between(0.95, 1.05))
        pitch = plan.pitch * curve((0.94, 1.0, 1.0, 1.0, 0.93), n)
        blast = voice(plan.rng, pitch, funnel, tilt=0.5, ceiling=2400.0)
        blast += 0.5 * voice(plan.rng, pitch * beating, funnel, tilt=0.7, ceiling=1600.0)
        place(blasts, peaked(blast) * swell(n, 0.05, 0.07), onset, level)
    water = noise(plan.rng, SAMPLES, lambda f: band(650.0, 1.5)(f) + 0.25 * band(2600.0, 0.7)(f))
    lapping = 0.55 + 0.45 * tone(plan.between(0.45, 0.8), SAMPLES, plan.between(0.0, 1.0))
    lapping *= 1.0 + 0.3 * wander(plan.rng, SAMPLES, 6.0)
    return blasts + plan.between(0.05, 0.09) * water * lapping


def rocket(plan: Plan) -> Array:
    """Thrust: crackling broad noise whose resonance climbs, in surges, with a rising whine of the pumps."""
    climb = plan.between(1.15, 1.3)
    roar = np.zeros(SAMPLES, dtype=np.float32)
    share = np.linspace(0.0, 1.0, SAMPLES, dtype=np.float32)
    for weight, ratio in ((np.cos(share * np.pi / 2), 1.0 / climb), (np.sin(share * np.pi / 2), climb)):
        gain = _nozzle(plan.pitch * ratio, plan.between(0.5, 0.65))
        roar += weight * noise(plan.rng, SAMPLES, gain)
    crackle = np.maximum(0.25, 1.0 + 0.55 * wander(plan.rng, SAMPLES, plan.between(50.0, 90.0)))
    surge = np.zeros(SAMPLES, dtype=np.float32)
    n = seconds(0.92 * plan.period)
    for onset, level in zip(plan.onsets, plan.levels, strict=True):
        place(surge, swell(n, 0.3 * plan.period, 0.55 * plan.period), onset, 0.35 + 0.65 * level)
    whine = plan.pitch * plan.between(2.8, 3.3) * np.exp(np.log(climb) * (2.0 * share - 1.0))
    pumps = tone(whine, SAMPLES) + 0.4 * tone(1.5 * whine, SAMPLES)
    thrust = roar * crackle + plan.between(0.2, 0.32) * pumps
    out: Array = (
        loud(thrust, 0.25) * (0.14 + np.minimum(surge, 1.0)) * np.minimum(1.0, 0.6 + 2.0 * time(SAMPLES))
    )
    return out


def _nozzle(centre: float, octaves: float) -> Gain:
    """The roar's resonance, and some hiss two octaves above it."""

    def gain(frequency: Array) -> Array:
        return band(centre, octaves)(frequency) + 0.12 * band(4.0 * centre, 1.2)(frequency)

    return gain
