"""Sounds that are nothing: what the judge must call "none".

The kinds are what a bad generator makes: silence, noise, mixtures, things out of order, things crushed or
smeared, shreds of things, and tones that never become one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from modaverse.interfaces import Waveform
from modaverse.toybox.sounds.render import render_sound
from modaverse.toybox.sounds.synth import (
    SAMPLE_RATE,
    SAMPLES,
    Array,
    loud,
    noise,
    peaked,
    phase_of,
    place,
    seconds,
    sine,
    swell,
    time,
    wander,
)
from modaverse.toybox.world import PACES, PITCHES, THINGS, SoundScene

Spoiler = Callable[[SoundScene, np.random.Generator], Array]


def spoil_sound(scene: SoundScene, rng: np.random.Generator, *, kind: str | None = None) -> Waveform:
    """A sound that is no thing: (32000, 1) float32 at 16 kHz. Most kinds begin with a render of `scene`.

    `kind` is one of `SPOILERS`; drawn if not given.

    Raises:
        KeyError: no such kind.
    """
    chosen = kind if kind is not None else _KINDS[int(rng.integers(len(_KINDS)))]
    sound = SPOILERS[chosen](scene, rng)
    return Waveform(np.ascontiguousarray(sound, dtype=np.float32)[:, None], SAMPLE_RATE)


def _render(scene: SoundScene, rng: np.random.Generator) -> Array:
    sound: Array = render_sound(scene, rng).array[:, 0]
    return sound


def _level(rng: np.random.Generator, sound: Array) -> Array:
    return peaked(sound * swell(len(sound), 0.004, 0.004), float(rng.uniform(0.4, 0.9)))


def silence(scene: SoundScene, rng: np.random.Generator) -> Array:
    """Nothing, or next to nothing: a hiss of at most -50 dB."""
    if rng.random() < 0.3:
        return np.zeros(SAMPLES, dtype=np.float32)
    slope = float(rng.uniform(0.0, 1.0))
    hiss = noise(rng, SAMPLES, lambda f: np.maximum(f, 60.0) ** -slope)
    return hiss * np.float32(10.0 ** rng.uniform(-4.5, -3.0))


def hiss(scene: SoundScene, rng: np.random.Generator) -> Array:
    """White to brown noise, steady or slowly wandering."""
    slope = float(rng.uniform(0.0, 2.0))
    sound = noise(rng, SAMPLES, lambda f: np.maximum(f, 60.0) ** (-0.5 * slope))
    depth = float(rng.choice((0.0, 0.5)))
    return _level(rng, sound * (1.0 + np.float32(depth) * wander(rng, SAMPLES, 3.0)))


def blend(scene: SoundScene, rng: np.random.Generator) -> Array:
    """Two different things at the same loudness at once."""
    others = [thing for thing in THINGS if thing != scene.thing]
    other = SoundScene(str(rng.choice(others)), str(rng.choice(PITCHES)), str(rng.choice(PACES)))
    ratio = np.float32(rng.uniform(0.75, 1.33))
    return _level(rng, loud(_render(scene, rng)) + ratio * loud(_render(other, rng)))


def scrambled(scene: SoundScene, rng: np.random.Generator) -> Array:
    """Cut to pieces of 20 to 60 ms, each turned round, in a random order."""
    sound = _render(scene, rng)
    piece = seconds(float(rng.uniform(0.02, 0.06)))
    fade = swell(piece, 0.002, 0.002)
    count = SAMPLES // piece
    pieces = sound[: count * piece].reshape(count, piece)[rng.permutation(count), ::-1] * fade
    return _level(rng, np.concatenate([pieces.reshape(-1), np.zeros(SAMPLES - count * piece, np.float32)]))


def crushed(scene: SoundScene, rng: np.random.Generator) -> Array:
    """Clipped to one bit over its own noise, with half of it dropped in small gaps."""
    sound = _render(scene, rng)
    floor = noise(rng, SAMPLES, lambda f: np.ones_like(f)) * np.float32(rng.uniform(0.3, 0.8))
    bits = np.sign(sound + floor * loud(sound).std() * np.float32(0.2))
    gap = seconds(float(rng.uniform(0.012, 0.04)))
    holes = np.repeat(rng.random(SAMPLES // gap + 1) < 0.5, gap)[:SAMPLES]
    return _level(rng, np.where(holes, np.float32(0.0), bits.astype(np.float32)))


def shred(scene: SoundScene, rng: np.random.Generator) -> Array:
    """A single shred of 25 to 60 ms of a thing in silence: too short to be anything."""
    sound = _render(scene, rng)
    length = seconds(float(rng.uniform(0.025, 0.06)))
    loudness = np.convolve(np.abs(sound), np.ones(length, np.float32), mode="valid")[:: SAMPLES // 100]
    first = int(rng.choice(np.flatnonzero(loudness >= 0.5 * loudness.max()))) * (SAMPLES // 100)
    track = np.zeros(SAMPLES, dtype=np.float32)
    place(track, sound[first : first + length] * swell(length, 0.004, 0.008), float(rng.uniform(0.1, 1.8)))
    return _level(rng, track)


def smeared(scene: SoundScene, rng: np.random.Generator) -> Array:
    """The colour of a thing without its course in time: its spectrum, blurred, with random phases."""
    magnitude = np.abs(np.fft.rfft(_render(scene, rng)))
    width = int(rng.integers(60, 240))
    power = np.convolve(magnitude**2, np.ones(width) / width, mode="same")
    return _level(
        rng, noise(rng, SAMPLES, lambda f: np.interp(f, np.arange(len(power)) * 0.5, np.sqrt(power)))
    )


def sweep(scene: SoundScene, rng: np.random.Generator) -> Array:
    """One pure tone, held or gliding all the way."""
    low, high = np.exp(rng.uniform(np.log(90.0), np.log(4_000.0), 2))
    if rng.random() < 0.4:
        high = low
    frequency = low * (high / low) ** (time(SAMPLES) / 2.0)
    return _level(rng, sine(phase_of(frequency.astype(np.float32), SAMPLES, float(rng.random()))))


def drone(scene: SoundScene, rng: np.random.Generator) -> Array:
    """A handful of unrelated steady tones over noise, as of a model that has learnt nothing yet."""
    sound = 0.3 * noise(rng, SAMPLES, lambda f: np.maximum(f, 100.0) ** -0.7)
    for frequency in np.exp(rng.uniform(np.log(90.0), np.log(4_500.0), int(rng.integers(3, 9)))):
        loudness = 0.6 + 0.4 * wander(rng, SAMPLES, 1.5)
        sound += sine(phase_of(float(frequency), SAMPLES, float(rng.random()))) * loudness / np.float32(2.0)
    return _level(rng, sound)


SPOILERS: Mapping[str, Spoiler] = {
    "silence": silence,
    "hiss": hiss,
    "blend": blend,
    "scrambled": scrambled,
    "crushed": crushed,
    "shred": shred,
    "smeared": smeared,
    "sweep": sweep,
    "drone": drone,
}
_KINDS = tuple(SPOILERS)
