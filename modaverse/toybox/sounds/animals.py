"""Cat, dog, bird and frog: voices with formants, whistles with frequency modulation, pulsed croaks."""

from __future__ import annotations

import numpy as np

from modaverse.toybox.sounds.plan import Plan
from modaverse.toybox.sounds.synth import (
    SAMPLES,
    Array,
    band,
    curve,
    loud,
    noise,
    peaked,
    phase_of,
    place,
    resonances,
    seconds,
    sine,
    strike,
    swell,
    tone,
    voice,
    wander,
)


def cat(plan: Plan) -> Array:
    """Meows: the pitch rises and falls while the mouth goes from "m" over "ee" and "ah" to "oo"."""
    tract = (1.3 if plan.high else 0.85) * plan.between(0.93, 1.07)
    opening = plan.between(0.3, 0.45)
    width = plan.between(0.9, 1.3)
    breath = plan.between(0.02, 0.06)
    stretch = plan.between(0.62, 0.8)
    bend = plan.between(0.8, 1.2)

    def mouth(frequency: Array, where: Array) -> Array:
        stations = (0.0, 0.5 * opening, opening + 0.15, 0.8, 1.0)
        first = np.interp(where, stations, (350.0, 650.0, 1150.0, 800.0, 480.0)) * tract
        second = np.interp(where, stations, (1300.0, 2500.0, 1900.0, 1350.0, 950.0)) * tract
        widths = (170.0 * width, 240.0 * width, 500.0 * width)
        return resonances(frequency, (first, second, 3400.0 * tract), widths, (1.0, 0.8, 0.25))

    track = np.zeros(SAMPLES, dtype=np.float32)
    for onset, level in zip(plan.onsets, plan.levels, strict=True):
        n = seconds(min(0.62, stretch * plan.period) * plan.between(0.92, 1.08))
        top, end = 1.0 + 0.14 * bend, 1.0 - 0.2 * bend
        pitch = plan.pitch * plan.between(0.97, 1.03) * curve((0.88, top, 1.02 * top, 1.0, end), n)
        pitch *= 1.0 + 0.012 * np.sin(2 * np.pi * 7.0 * np.arange(n, dtype=np.float32) / 16_000)
        meow = voice(plan.rng, pitch, mouth, tilt=0.7)
        meow += breath * loud(noise(plan.rng, n, band(2200.0 * tract, 0.9)))
        loudness = curve((0.0, 0.65, 1.0, 0.85, 0.5, 0.0), n)
        place(track, peaked(meow * loudness), onset, level)
    return track


def dog(plan: Plan) -> Array:
    """Barks: a burst of a rough voice and noise through a mouth that snaps open and shut."""
    tract = (1.45 if plan.high else 0.8) * plan.between(0.93, 1.07)
    rough = plan.between(0.25, 0.5)
    growl = plan.between(38.0, 60.0)
    length = plan.between(0.19, 0.27)

    def mouth(frequency: Array, where: Array) -> Array:
        opening = np.interp(where, (0.0, 0.25, 0.7, 1.0), (0.7, 1.0, 0.95, 0.7))
        centres = (620.0 * tract * opening, 1250.0 * tract * opening, 2500.0 * tract)
        return resonances(frequency, centres, (220.0, 300.0, 500.0), (1.0, 0.7, 0.3))

    track = np.zeros(SAMPLES, dtype=np.float32)
    for onset, level in zip(plan.onsets, plan.levels, strict=True):
        n = seconds(min(length, 0.62 * plan.period) * plan.between(0.93, 1.07))
        pitch = plan.pitch * plan.between(0.95, 1.05) * curve((0.75, 1.12, 1.15, 1.0, 0.72), n)
        pitch *= 1.0 + 0.03 * wander(plan.rng, n, 90.0)
        bark = loud(voice(plan.rng, pitch, mouth, tilt=0.35, ceiling=4500.0))
        hiss = noise(plan.rng, n, lambda f: mouth(f, np.full_like(f, 0.4)) * (f > 150.0))
        bark += rough * loud(hiss)
        bark *= 1.0 + 0.35 * tone(growl, n)
        loudness = curve((0.0, 1.0, 0.9, 0.62, 0.3, 0.12, 0.0), n)
        place(track, peaked(bark * loudness), onset, level)
    return track


_CHIRPS: tuple[tuple[float, ...], ...] = (
    (0.82, 1.0, 1.22),  # rising
    (1.24, 1.0, 0.82),  # falling
    (0.85, 1.2, 0.88),  # arched
    (1.15, 0.84, 1.18),  # dipping
    (0.9, 1.2, 0.85, 1.15),  # two waves
)


def bird(plan: Plan) -> Array:
    """Chirps: a nearly pure whistle whose frequency sweeps, half of the time with a trill on it."""
    first, second = plan.rng.integers(len(_CHIRPS), size=2)
    trill = plan.between(18.0, 30.0)
    depth = plan.between(0.04, 0.09) if plan.rng.random() < 0.5 else 0.0
    overtone = plan.between(0.03, 0.15)
    stretch = plan.between(0.45, 0.62)

    track = np.zeros(SAMPLES, dtype=np.float32)
    for index, (onset, level) in enumerate(zip(plan.onsets, plan.levels, strict=True)):
        n = seconds(min(0.36, stretch * plan.period) * plan.between(0.9, 1.1))
        shape = curve(_CHIRPS[second if index % 3 == 2 else first], n)
        pitch = plan.pitch * plan.between(0.97, 1.03) * shape * (1.0 + depth * tone(trill, n))
        phase = phase_of(pitch, n)
        chirp = sine(phase) + overtone * sine(2 * phase) * (2 * pitch < 6_500.0)
        loudness = swell(n, 0.02, 0.05) * curve((0.7, 1.0, 0.8), n)
        if depth:
            loudness *= 0.72 + 0.28 * tone(trill, n, 0.25)
        place(track, peaked(chirp * loudness), onset, level)
    return track


def frog(plan: Plan) -> Array:
    """Ribbits: a short croak that runs into a longer, higher one, trains of pulses that ring in the sac."""
    pulses = plan.between(34.0, 50.0) * (1.25 if plan.high else 1.0)
    ring = plan.between(0.0045, 0.008)
    second = plan.between(2.2, 2.7)
    lift = plan.between(1.18, 1.35)

    def croak(length: float, centre: float) -> Array:
        n = seconds(length)
        rate = pulses * curve((0.9, 1.05, 1.0), n)
        beat = phase_of(rate, n)
        since = ((beat - np.floor(beat)) / pulses).astype(np.float32)
        gate = np.exp(-since / np.float32(ring)) * np.minimum(1.0, since / np.float32(0.0012))
        carrier = centre * curve((0.92, 1.04, 1.0), n)
        phase = phase_of(carrier, n, plan.between(0.0, 1.0))
        body = sine(phase) + 0.45 * sine(second * phase) + 0.18 * sine(0.5 * second * 3 * phase)
        out: Array = body * gate * swell(n, 0.012, 0.03)
        return out

    track = np.zeros(SAMPLES, dtype=np.float32)
    for onset, level in zip(plan.onsets, plan.levels, strict=True):
        whole = min(0.42, 0.68 * plan.period) * plan.between(0.93, 1.07)
        centre = plan.pitch * plan.between(0.97, 1.03)
        place(track, peaked(croak(0.32 * whole, centre)), onset, 0.6 * level)
        place(track, peaked(croak(0.72 * whole, lift * centre)), onset + 0.28 * whole, level)
    hush = noise(plan.rng, SAMPLES, band(900.0, 1.2)) * strike(SAMPLES, 40.0)
    return track + np.float32(0.004) * hush
