"""Bell, drum, clock and phone: what is struck, and what rings."""

from __future__ import annotations

import numpy as np

from modaverse.toybox.sounds.plan import Plan
from modaverse.toybox.sounds.synth import (
    CEILING,
    SAMPLES,
    Array,
    band,
    noise,
    peaked,
    phase_of,
    place,
    seconds,
    sine,
    strike,
    swell,
    time,
    tone,
)

# Partials of a church bell against its prime: hum, prime, tierce, quint, nominal, and those above
# (Fletcher and Rossing, The Physics of Musical Instruments, chapter 21), with level and relative decay.
_BELL = (
    (0.5, 0.45, 1.0),
    (1.0, 0.9, 0.75),
    (1.183, 0.7, 0.6),
    (1.506, 0.35, 0.45),
    (2.0, 1.0, 0.4),
    (2.514, 0.4, 0.28),
    (2.662, 0.35, 0.25),
    (3.011, 0.45, 0.22),
    (4.166, 0.3, 0.15),
)

# Modes of a circular membrane: zeros of the Bessel functions against the first, with level and decay.
_MEMBRANE = (
    (1.0, 1.0, 1.0),
    (1.594, 0.55, 0.7),
    (2.136, 0.35, 0.55),
    (2.296, 0.3, 0.5),
    (2.653, 0.22, 0.4),
    (2.918, 0.18, 0.35),
)


def bell(plan: Plan) -> Array:
    """Strikes on one bell: inharmonic partials that die away from the top, so that the hum stays."""
    decay = plan.between(0.75, 1.15) * plan.period
    n = seconds(min(2.0, 4.5 * decay))
    ring = np.zeros(n, dtype=np.float32)
    for ratio, level, life in _BELL:
        frequency = plan.pitch * ratio * plan.between(0.994, 1.006)
        if frequency < CEILING:
            warble = 1.0 + 0.15 * tone(plan.between(1.5, 4.0), n, plan.between(0.0, 1.0))
            partial = tone(frequency, n, plan.between(0.0, 1.0)) * strike(n, decay * life, 0.003)
            ring += np.float32(level * plan.between(0.6, 1.2)) * partial * warble
    clapper = noise(plan.rng, seconds(0.04), band(3.5 * plan.pitch, 0.7)) * strike(seconds(0.04), 0.01)
    ring = peaked(ring)
    track = np.zeros(SAMPLES, dtype=np.float32)
    for onset, level in zip(plan.onsets, plan.levels, strict=True):
        place(track, ring, onset, level)
        place(track, clapper, onset, 0.12 * level * plan.between(0.6, 1.4))
    return track


def drum(plan: Plan) -> Array:
    """Hits on one drum: membrane modes whose pitch drops as the skin relaxes, behind a slap of the stick."""
    decay = plan.between(0.11, 0.17) * (0.8 if plan.high else 1.0)
    n = seconds(0.42)
    drop = 1.0 + plan.between(0.12, 0.3) * np.exp(-time(n) / np.float32(plan.between(0.02, 0.04)))
    boom = np.zeros(n, dtype=np.float32)
    for ratio, level, life in _MEMBRANE:
        frequency = plan.pitch * ratio * plan.between(0.98, 1.02)
        mode = tone(frequency * drop, n, plan.between(0.0, 1.0)) * strike(n, decay * life, 0.003)
        boom += np.float32(level * plan.between(0.6, 1.2)) * mode
    boom = peaked(boom)
    skin = plan.pitch * plan.between(7.0, 10.0)
    slap = plan.between(0.12, 0.3)
    track = np.zeros(SAMPLES, dtype=np.float32)
    for onset, level in zip(plan.onsets, plan.levels, strict=True):
        m = seconds(0.09)
        stick = peaked(noise(plan.rng, m, band(skin, 0.8)) * strike(m, 0.018, 0.002))
        place(track, boom, onset, level)
        place(track, stick, onset, slap * level * plan.between(0.8, 1.2))
    return track


def clock(plan: Plan) -> Array:
    """Tick and tock in turn: two knocks of the escapement that ring shortly in a wooden case."""
    tock = plan.between(0.7, 0.8)
    wood = plan.pitch * plan.between(0.4, 0.46)
    decay = plan.between(0.016, 0.028)
    ratios = (1.0, plan.between(1.55, 1.75), plan.between(2.2, 2.5))
    n = seconds(0.16)

    def knock(factor: float) -> Array:
        sound = 0.5 * tone(wood * factor, n, plan.between(0.0, 1.0)) * strike(n, 1.7 * decay, 0.003)
        for ratio, level in zip(ratios, (1.0, 0.6, 0.35), strict=True):
            frequency = min(CEILING, plan.pitch * factor * ratio)
            sound += np.float32(level) * tone(frequency, n, plan.between(0.0, 1.0)) * strike(n, decay / ratio)
        click = noise(plan.rng, n, band(2.4 * plan.pitch * factor, 0.6)) * strike(n, 0.006)
        return peaked(peaked(sound) + np.float32(0.25) * peaked(click))

    knocks = (knock(1.0), knock(tock))
    turn = int(plan.rng.integers(2))
    track = np.zeros(SAMPLES, dtype=np.float32)
    for index, (onset, level) in enumerate(zip(plan.onsets, plan.levels, strict=True)):
        place(track, knocks[(index + turn) % 2], onset, level)
    return track


def phone(plan: Plan) -> Array:
    """Rings: bursts in which two notes warble against each other, a little metallic."""
    interval = plan.between(1.2, 1.32)
    warble = plan.between(17.0, 25.0)
    duty = plan.between(0.58, 0.7)
    third = plan.between(0.12, 0.3)
    metal = plan.between(0.05, 0.14)

    def note(frequency: float, n: int) -> Array:
        phase = phase_of(frequency, n, plan.between(0.0, 1.0))
        out: Array = (
            sine(phase) + np.float32(third) * sine(3.0 * phase) + np.float32(metal) * sine(2.76 * phase)
        )
        return out

    track = np.zeros(SAMPLES, dtype=np.float32)
    for onset, level in zip(plan.onsets, plan.levels, strict=True):
        n = seconds(duty * plan.period * plan.between(0.96, 1.04))
        switch = 0.5 + 0.5 * np.tanh(3.0 * tone(warble, n, plan.between(0.0, 1.0)))
        ring = note(plan.pitch, n) * switch + note(plan.pitch * interval, n) * (1.0 - switch)
        place(track, peaked(ring) * swell(n, 0.012, 0.035), onset, level)
    return track
