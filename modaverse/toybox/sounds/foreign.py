"""Sounds of another world: what mini must say that it does not know.

Half of the kinds may be trained on; the other half is for evaluation only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from modaverse.interfaces import Waveform
from modaverse.toybox.sounds.synth import (
    SAMPLE_RATE,
    SAMPLES,
    SECONDS,
    Array,
    band,
    curve,
    in_a_room,
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
    time,
    tone,
    voice,
    wander,
)

Maker = Callable[[np.random.Generator], Array]

_SCALE = (0, 2, 4, 5, 7, 9, 11, 12, 14, 16)  # a major scale in semitones


def foreign_sound(rng: np.random.Generator, *, kinds: Sequence[str] | None = None) -> Waveform:
    """A sound of something that Toybox does not have: (32000, 1) float32 at 16 kHz.

    `kinds` defaults to `FOREIGN_TRAIN`; evaluation passes `FOREIGN_HELD_OUT`.

    Raises:
        KeyError: an unknown kind.
    """
    names = tuple(kinds) if kinds is not None else FOREIGN_TRAIN
    dry = FOREIGN[names[int(rng.integers(len(names)))]](rng)
    return Waveform(in_a_room(rng, peaked(dry))[:, None], SAMPLE_RATE)


# --------------------------------------------------------------------------- may be trained on


# Formants of vowels in Hz (Peterson and Barney 1952, men), in the order i, e, a, o, u, schwa.
_VOWELS = (
    (270, 2290, 3010),
    (530, 1840, 2480),
    (730, 1090, 2440),
    (570, 840, 2410),
    (300, 870, 2240),
    (500, 1500, 2500),
)


def speech(rng: np.random.Generator) -> Array:
    """Babble: syllables of gliding vowels with hissed consonants, on a falling melody."""
    track = np.zeros(SAMPLES, dtype=np.float32)
    base = float(np.exp(rng.uniform(np.log(95.0), np.log(240.0))))
    tract = float(rng.uniform(0.95, 1.2))
    at = float(rng.uniform(0.0, 0.15))
    while at < SECONDS - 0.1:
        length = float(rng.uniform(0.11, 0.26))
        n = seconds(length)
        start, end = (np.array(_VOWELS[i]) * tract for i in rng.integers(len(_VOWELS), size=2))

        def mouth(frequency: Array, where: Array, a: Array = start, b: Array = end) -> Array:
            centres = [a[k] + (b[k] - a[k]) * where for k in range(3)]
            return resonances(frequency, centres, (90.0, 110.0, 170.0), (1.0, 0.6, 0.3))

        melody = base * (1.1 - 0.12 * at) * curve(rng.uniform(0.9, 1.12, 3).tolist(), n)
        place(track, peaked(voice(rng, melody, mouth, tilt=0.8)) * swell(n, 0.03, 0.05), at)
        if rng.random() < 0.5:
            m = seconds(0.07)
            hissed = noise(rng, m, band(float(rng.uniform(2500.0, 4500.0)), 0.5)) * swell(m, 0.02, 0.02)
            place(track, hissed, at - 0.06, 0.12)
        at += length + (float(rng.uniform(0.1, 0.25)) if rng.random() < 0.2 else 0.02)
    return track


def piano(rng: np.random.Generator) -> Array:
    """A melody in a major scale: stretched harmonics that decay, at uneven note lengths."""
    track = np.zeros(SAMPLES, dtype=np.float32)
    root = 220.0 * 2.0 ** rng.uniform(0.0, 1.0)
    at, degree = 0.03, int(rng.integers(len(_SCALE)))
    while at < SECONDS - 0.1:
        degree = int(np.clip(degree + rng.integers(-3, 4), 0, len(_SCALE) - 1))
        frequency = root * 2.0 ** (_SCALE[degree] / 12.0)
        n = seconds(0.8)
        note = np.zeros(n, dtype=np.float32)
        for k in range(1, 7):
            stretched = frequency * k * float(np.sqrt(1.0 + 0.0006 * k * k))
            note += (
                tone(stretched, n, float(rng.random())) * strike(n, 0.45 / k**0.6, 0.004) / np.float32(k**1.3)
            )
        place(track, note, at, float(rng.uniform(0.6, 1.0)))
        at += float(rng.choice((0.14, 0.28, 0.28, 0.42)))
    return track


def rain(rng: np.random.Generator) -> Array:
    """A steady rush of noise with a hundred small drops in it."""
    track = 0.5 * noise(rng, SAMPLES, band(float(rng.uniform(1800.0, 3200.0)), 1.6))
    for at in rng.uniform(0.0, SECONDS, int(rng.integers(60, 160))):
        n = seconds(0.02)
        drop = tone(float(rng.uniform(1200.0, 4500.0)), n) * strike(n, 0.004)
        place(track, drop, float(at), float(rng.uniform(0.3, 1.6)))
    return track


def siren(rng: np.random.Generator) -> Array:
    """The wail of an ambulance: one rich tone that sweeps up and down without a pause."""
    rate, depth = float(rng.uniform(0.4, 2.2)), float(rng.uniform(0.25, 0.45))
    course = tone(rate, SAMPLES, float(rng.random()))
    pitch = float(rng.uniform(600.0, 1000.0)) * np.exp(np.float32(depth) * course)
    phase = phase_of(pitch.astype(np.float32), SAMPLES)
    out: Array = sine(phase) + 0.35 * sine(2 * phase) + 0.25 * sine(3 * phase)
    return out


def morse(rng: np.random.Generator) -> Array:
    """Dots and dashes of one pure tone, in uneven groups."""
    track = np.zeros(SAMPLES, dtype=np.float32)
    frequency, unit, at = float(rng.uniform(500.0, 1100.0)), float(rng.uniform(0.05, 0.08)), 0.03
    while at < SECONDS - unit:
        length = unit * (1 if rng.random() < 0.55 else 3)
        n = seconds(length)
        place(track, tone(frequency, n) * swell(n, 0.006, 0.006), at)
        at += length + unit * (3 if rng.random() < 0.3 else 1)
    return track


def applause(rng: np.random.Generator) -> Array:
    """Many hands: hundreds of short bursts of noise, each of its own colour."""
    track = np.zeros(SAMPLES, dtype=np.float32)
    claps = []
    for _ in range(12):
        n = seconds(0.03)
        claps.append(noise(rng, n, band(float(rng.uniform(900.0, 2200.0)), 0.5)) * strike(n, 0.006, 0.002))
    for at in rng.uniform(-0.02, SECONDS, int(rng.integers(120, 320))):
        place(track, claps[int(rng.integers(len(claps)))], float(at), float(rng.uniform(0.2, 1.0)))
    return track


# --------------------------------------------------------------------------- for evaluation only


def guitar(rng: np.random.Generator) -> Array:
    """Plucked strings, strummed as broken chords: harmonics with a comb of the plucking point."""
    track = np.zeros(SAMPLES, dtype=np.float32)
    at, root = 0.03, 98.0 * 2.0 ** rng.uniform(0.0, 0.8)
    pluck, spacing = float(rng.uniform(0.12, 0.3)), float(rng.uniform(0.09, 0.2))
    while at < SECONDS - 0.1:
        frequency = root * 2.0 ** (float(rng.choice((0, 7, 12, 16, 19, 24))) / 12.0)
        n = seconds(0.75)
        string = np.zeros(n, dtype=np.float32)
        for k in range(1, 9):
            level = abs(np.sin(np.pi * k * pluck)) / k
            if frequency * k < 5_000.0 and level > 0.01:
                string += np.float32(level) * tone(frequency * k, n) * strike(n, 0.5 / k**0.5, 0.003)
        place(track, string, at, float(rng.uniform(0.6, 1.0)))
        at += spacing * float(rng.choice((1, 1, 2)))
    return track


def wind(rng: np.random.Generator) -> Array:
    """Howling: bands of noise whose loudness swells and fades slowly and never together."""
    track = np.zeros(SAMPLES, dtype=np.float32)
    for centre in np.exp(rng.uniform(np.log(300.0), np.log(1_400.0), 4)):
        gust = np.clip(0.5 + 0.6 * wander(rng, SAMPLES, 1.2), 0.03, None)
        track += gust * noise(rng, SAMPLES, band(float(centre), 0.18))
    return track + 0.3 * noise(rng, SAMPLES, band(300.0, 1.0))


def glass(rng: np.random.Generator) -> Array:
    """A crash and the shards that ring after it, ever fewer."""
    track = np.zeros(SAMPLES, dtype=np.float32)
    start = float(rng.uniform(0.05, 0.5))
    n = seconds(0.25)
    place(track, noise(rng, n, band(3_000.0, 0.9)) * strike(n, 0.05), start, 0.5)
    for delay in rng.exponential(0.3, int(rng.integers(25, 50))):
        m = seconds(0.15)
        shard = tone(float(rng.uniform(1_800.0, 5_000.0)), m) * strike(m, float(rng.uniform(0.01, 0.05)))
        place(track, shard, start + float(delay), float(rng.uniform(0.1, 0.5)))
    return track


def helicopter(rng: np.random.Generator) -> Array:
    """Rotor blades: broad thuds at ten to fifteen a second over a turbine's whine."""
    rate = float(rng.uniform(10.0, 15.0))
    beat = phase_of(rate, SAMPLES, float(rng.random()))
    thud = (0.5 + 0.5 * np.cos(2 * np.pi * beat)).astype(np.float32) ** np.float32(rng.uniform(3.0, 6.0))
    blades = noise(rng, SAMPLES, band(float(rng.uniform(180.0, 350.0)), 1.3)) * (0.12 + thud)
    whine = float(rng.uniform(1_200.0, 2_200.0))
    turbine = tone(whine, SAMPLES) + 0.6 * tone(1.5 * whine, SAMPLES)
    out: Array = blades + 0.1 * turbine
    return out


def cow(rng: np.random.Generator) -> Array:
    """A moo: one long, low, nasal voice that opens and closes once."""
    length = float(rng.uniform(1.1, 1.6))
    n = seconds(length)
    pitch = float(rng.uniform(90.0, 150.0)) * curve((0.85, 1.05, 1.1, 1.0, 0.75), n)

    def mouth(frequency: Array, where: Array) -> Array:
        first = np.interp(where, (0.0, 0.3, 0.8, 1.0), (280.0, 480.0, 560.0, 350.0))
        return resonances(frequency, (first, 1.9 * first, 2_300.0), (120.0, 200.0, 500.0), (1.0, 0.4, 0.12))

    moo = voice(rng, pitch * (1.0 + 0.01 * wander(rng, n, 40.0)), mouth, tilt=0.5)
    track = np.zeros(SAMPLES, dtype=np.float32)
    place(track, peaked(moo) * swell(n, 0.2, 0.35), float(rng.uniform(0.02, SECONDS - length)))
    return track


def violin(rng: np.random.Generator) -> Array:
    """Bowed notes, tied, with vibrato, through the resonances of a wooden body."""
    track = np.zeros(SAMPLES, dtype=np.float32)
    at, root = 0.0, 196.0 * 2.0 ** rng.uniform(0.2, 1.3)
    shift = float(rng.uniform(0.9, 1.1))

    def body(frequency: Array, where: Array) -> Array:
        centres = tuple(shift * f for f in (290.0, 460.0, 1_000.0, 2_600.0))
        return 0.15 + resonances(frequency, centres, (90.0, 120.0, 400.0, 1_400.0), (0.8, 1.0, 0.7, 0.8))

    while at < SECONDS - 0.1:
        length = float(rng.uniform(0.35, 0.8))
        n = seconds(length)
        vibrato = 1.0 + 0.009 * tone(float(rng.uniform(5.0, 6.5)), n) * np.minimum(1.0, time(n) / 0.2)
        pitch = root * 2.0 ** (_SCALE[int(rng.integers(8))] / 12.0) * vibrato
        place(track, loud(voice(rng, pitch.astype(np.float32), body, tilt=1.0)) * swell(n, 0.07, 0.07), at)
        at += length - 0.05
    return track


FOREIGN: Mapping[str, Maker] = {
    "speech": speech,
    "piano": piano,
    "rain": rain,
    "siren": siren,
    "morse": morse,
    "applause": applause,
    "guitar": guitar,
    "wind": wind,
    "glass": glass,
    "helicopter": helicopter,
    "cow": cow,
    "violin": violin,
}
FOREIGN_TRAIN = ("speech", "piano", "rain", "siren", "morse", "applause")
FOREIGN_HELD_OUT = ("guitar", "wind", "glass", "helicopter", "cow", "violin")
