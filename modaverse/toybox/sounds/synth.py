"""The building blocks of every sound: oscillators, envelopes, resonances, noise, and a room.

Everything is a plain array of floats of shape (n,) at 16 kHz, float32 where speed counts. There are no
recursive filters: what is harmonic is summed from sines whose levels follow the formants, and what is noise
gets its spectrum in the Fourier domain.

Legend of shapes: n: samples, h: harmonics, c: control points.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

SAMPLE_RATE = 16_000
SECONDS = 2.0
SAMPLES = int(SAMPLE_RATE * SECONDS)
CEILING = 5_200.0
"""No partial is made above this frequency (Hz): a small model of sound spends its capacity below it."""

Array = NDArray[np.floating[Any]]
Gain = Callable[[Array], Array]
"""A frequency response: frequencies in Hz to factors."""

_CONTROL_STEP = 128  # samples between the points at which formants are evaluated
_PADDED = 40_960  # 2**13 * 5: room for the tail, and a fast size for the Fourier transform


# ------------------------------------------------------------------------------------- envelopes


def seconds(duration: float) -> int:
    """Samples in `duration` seconds, at least 16."""
    return max(16, int(duration * SAMPLE_RATE))


def time(n: int) -> Array:
    """(n,) seconds from 0."""
    t: Array = np.arange(n, dtype=np.float32) / np.float32(SAMPLE_RATE)
    return t


def curve(points: Sequence[float], n: int) -> Array:
    """(n,) a smooth line through evenly spaced `points` (cosine interpolation)."""
    position = np.linspace(0.0, len(points) - 1, n)
    left = np.minimum(position.astype(np.int64), len(points) - 2)
    blend = 0.5 - 0.5 * np.cos(np.pi * (position - left))
    values = np.asarray(points, dtype=np.float64)
    out: Array = (values[left] + (values[left + 1] - values[left]) * blend).astype(np.float32)
    return out


def swell(n: int, attack: float, release: float) -> Array:
    """(n,) from 0 up to 1 in `attack` seconds and down to 0 in the last `release` seconds, smoothly."""
    envelope = np.ones(n, dtype=np.float32)
    up, down = min(n // 2, seconds(attack)), min(n // 2, seconds(release))
    envelope[:up] = 0.5 - 0.5 * np.cos(np.linspace(0.0, np.pi, up, dtype=np.float32))
    envelope[n - down :] *= 0.5 + 0.5 * np.cos(np.linspace(0.0, np.pi, down, dtype=np.float32))
    return envelope


def strike(n: int, decay: float, attack: float = 0.002) -> Array:
    """(n,) an exponential decay to 1/e in `decay` seconds behind a rounded onset of `attack` seconds."""
    t = time(n)
    envelope: Array = np.exp(-t / np.float32(decay))
    up = min(n, seconds(attack))
    envelope[:up] *= 0.5 - 0.5 * np.cos(np.linspace(0.0, np.pi, up, dtype=np.float32))
    tail = min(n, 160)
    envelope[n - tail :] *= np.linspace(1.0, 0.0, tail, dtype=np.float32)
    return envelope


def wander(rng: np.random.Generator, n: int, per_second: float) -> Array:
    """(n,) a smooth random line in about [-1, 1] that turns about `per_second` times a second."""
    points = max(3, int(per_second * n / SAMPLE_RATE) + 2)
    return curve(rng.uniform(-1.0, 1.0, points).tolist(), n)


# -------------------------------------------------------------------------------------- sources


def phase_of(frequency: Array | float, n: int, start: float = 0.0) -> Array:
    """(n,) phase in turns of an oscillator at `frequency` Hz, a number or (n,)."""
    if isinstance(frequency, int | float):
        return start + np.arange(n) * (frequency / SAMPLE_RATE)
    return start + np.cumsum(frequency, dtype=np.float64) / SAMPLE_RATE


def sine(phase: Array) -> Array:
    """(n,) sin of a phase in turns; wrapped first, so that float32 keeps its precision."""
    wrapped = (phase - np.floor(phase)).astype(np.float32)
    out: Array = np.sin(wrapped * np.float32(2 * np.pi))
    return out


def tone(frequency: Array | float, n: int, start: float = 0.0) -> Array:
    """(n,) a sine at `frequency` Hz."""
    return sine(phase_of(frequency, n, start))


def voice(
    rng: np.random.Generator,
    pitch: Array,
    response: Callable[[Array, Array], Array],
    *,
    tilt: float = 1.0,
    ceiling: float = CEILING,
) -> Array:
    """(n,) harmonics of `pitch` ((n,), Hz), each as loud as `response` makes its frequency.

    `response(frequency, where)` gives factors for frequencies in Hz at `where` in [0, 1] of the sound, both
    (h, c). Harmonic k falls off by k to the power of `tilt` before it; those above `ceiling` Hz are left out.
    """
    n = len(pitch)
    control = np.arange(0, n + _CONTROL_STEP, _CONTROL_STEP)
    slow = pitch[np.minimum(control, n - 1)].astype(np.float64)
    count = max(1, int(ceiling / max(40.0, float(slow.min()))))
    order = np.arange(1, count + 1, dtype=np.float64)[:, None]
    frequency = order * slow
    where = np.broadcast_to(control / n, frequency.shape)
    level = response(frequency, where) * order**-tilt
    level = (level * np.clip((ceiling - frequency) / 400.0, 0.0, 1.0)).astype(np.float32)
    phase = phase_of(pitch, n, float(rng.random()))
    turns = (phase - np.floor(phase)).astype(np.float32) * np.float32(2 * np.pi)
    starts = rng.random(count, dtype=np.float32) * np.float32(2 * np.pi)
    ramp = np.arange(_CONTROL_STEP, dtype=np.float32) / np.float32(_CONTROL_STEP)
    out = np.zeros(n, dtype=np.float32)
    for index in np.flatnonzero(level.max(axis=1) > 2e-3 * level.max()):
        line = level[index]
        amplitude = (line[:-1, None] + np.diff(line)[:, None] * ramp).reshape(-1)[:n]
        out += np.sin(turns * np.float32(index + 1) + starts[index]) * amplitude
    return out


def resonances(
    frequency: Array,
    centres: Sequence[float | Array],
    widths: Sequence[float],
    levels: Sequence[float],
) -> Array:
    """Factors of parallel resonances at `frequency`: the root of the summed squares of
    `level / sqrt(1 + ((frequency - centre) / (width / 2))**2)`, all in Hz."""
    total = np.zeros_like(frequency)
    for centre, width, level in zip(centres, widths, levels, strict=True):
        total += level**2 / (1.0 + ((frequency - centre) / (0.5 * width)) ** 2)
    return np.sqrt(total)


def band(centre: float, octaves: float, slope: float = 2.0) -> Gain:
    """A bump on the logarithmic frequency axis: 1 at `centre` Hz, falling over `octaves` to either side."""

    def gain(frequency: Array) -> Array:
        distance = np.abs(np.log2(np.maximum(frequency, 1.0) / centre)) / octaves
        return np.exp(-(distance**slope))

    return gain


def noise(rng: np.random.Generator, n: int, gain: Gain) -> Array:
    """(n,) Gaussian noise of the spectrum `gain`, of about unit variance."""
    size = max(256, n)
    size = 1 << (size - 1).bit_length() if size < 16_384 else size
    frequency = np.fft.rfftfreq(size, 1.0 / SAMPLE_RATE)
    weight = gain(frequency)
    weight[0] = 0.0
    shape = weight * np.sqrt(size / max(1e-12, 2.0 * float(np.sum(weight**2)))) * np.sqrt(size / 2.0)
    draws = rng.standard_normal((2, len(frequency)), dtype=np.float32)
    spectrum = np.empty(len(frequency), dtype=np.complex64)
    spectrum.real, spectrum.imag = draws * shape.astype(np.float32)
    return np.fft.irfft(spectrum, size)[:n].astype(np.float32)


def shaped(signal: Array, gain: Gain) -> Array:
    """(n,) `signal` with the spectrum multiplied by `gain` (no delay; the ends do not wrap)."""
    size = _PADDED if len(signal) > 8_192 else 1 << (2 * len(signal) - 1).bit_length()
    frequency = np.fft.rfftfreq(size, 1.0 / SAMPLE_RATE)
    spectrum = np.fft.rfft(signal, size) * gain(frequency).astype(np.float32)
    return np.fft.irfft(spectrum, size)[: len(signal)].astype(np.float32)


# --------------------------------------------------------------------------------------- mixing


def place(track: Array, event: Array, onset: float, level: float = 1.0) -> None:
    """Add `event` to `track` from `onset` seconds on; what does not fit falls away."""
    first = round(onset * SAMPLE_RATE)
    skip, first = max(0, -first), max(0, first)
    length = min(len(event) - skip, len(track) - first)
    if length > 0:
        track[first : first + length] += np.float32(level) * event[skip : skip + length]


def loud(signal: Array, rms: float = 1.0) -> Array:
    """(n,) `signal` at a root mean square of `rms` (silence stays silence)."""
    power = float(np.sqrt(np.mean(np.square(signal))))
    return signal * np.float32(rms / power) if power > 1e-9 else signal


def peaked(signal: Array, peak: float = 1.0) -> Array:
    """(n,) `signal` with its greatest magnitude at `peak` (silence stays silence)."""
    top = float(np.max(np.abs(signal)))
    return signal * np.float32(peak / top) if top > 1e-9 else signal


def in_a_room(rng: np.random.Generator, dry: Array, background: float | None = None) -> Array:
    """(n,) `dry` as heard in some room, through some microphone, over some quiet noise, peak 0.5 to 0.9.

    The room is exponentially decaying noise after the direct sound; the microphone is a gentle tilt with
    nothing below 60 Hz. `background` is the level of the noise below the peak in dB; drawn if not given.
    """
    decay = float(np.exp(rng.uniform(np.log(0.02), np.log(0.14))))
    wet = float(rng.uniform(0.03, 0.22))
    tail = min(_PADDED - len(dry), seconds(5 * decay))
    reflections = rng.standard_normal(tail, dtype=np.float32) * np.exp(-time(tail) / np.float32(decay))
    reflections[: seconds(0.003)] = 0.0
    reflections *= np.float32(wet / np.sqrt(np.sum(np.square(reflections))))
    reflections[0] = 1.0
    frequency = np.fft.rfftfreq(_PADDED, 1.0 / SAMPLE_RATE).astype(np.float32)
    tilt = np.float32(rng.uniform(-0.12, 0.12))
    microphone = (np.maximum(frequency, 30.0) / np.float32(1_000.0)) ** tilt
    microphone *= 1.0 / (1.0 + (60.0 / np.maximum(frequency, 1.0)) ** 4) / (1.0 + (frequency / 6_000.0) ** 8)
    spectrum = np.fft.rfft(dry, _PADDED) * np.fft.rfft(reflections, _PADDED) * microphone
    sound = peaked(np.fft.irfft(spectrum, _PADDED)[: len(dry)].astype(np.float32))
    below = float(rng.uniform(34.0, 52.0)) if background is None else background
    slope = float(rng.uniform(0.3, 0.9))
    floor = noise(rng, len(dry), lambda f: np.maximum(f, 80.0) ** -slope)
    sound += floor * np.float32(10 ** (-below / 20.0))
    sound *= swell(len(dry), 0.004, 0.004)
    return peaked(sound, float(rng.uniform(0.5, 0.9)))
