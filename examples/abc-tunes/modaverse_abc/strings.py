"""Notes to sound: a few decaying partials each, summed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from modaverse_abc.notation import Note

RATE = 24_000
"""Samples per second."""

_ATTACK_SECONDS = 0.005
_RELEASE_SECONDS = 0.05
_LOUDEST = 0.9


class _Timbre(NamedTuple):
    """`partials` are the strengths of the multiples of the pitch; a partial n falls by e in `decay` / n
    seconds."""

    partials: tuple[float, ...]
    decay: float


_TIMBRES = {
    "harp": _Timbre((1.0, 0.5, 0.35, 0.2, 0.1, 0.05), 0.9),
    "bells": _Timbre((1.0, 0.1, 0.6, 0.05, 0.4), 2.5),
    "organ": _Timbre((1.0, 0.6, 0.3, 0.3, 0.1, 0.1), 1e6),
}
INSTRUMENTS = tuple(_TIMBRES)


def play(notes: Sequence[Note], instrument: str, told: Callable[[int], None]) -> np.ndarray:
    """Samples of all notes together, (samples,) float32 in [-1, 1]; `told` hears how many are done."""
    end = max(note.start + note.seconds for note in notes) + _RELEASE_SECONDS
    samples = np.zeros(int(end * RATE) + 1)
    for done, note in enumerate(notes, start=1):
        sound = _pluck(note, _TIMBRES[instrument])
        first = round(note.start * RATE)
        samples[first : first + len(sound)] += sound[: len(samples) - first]
        told(done)
    return (samples * (_LOUDEST / np.abs(samples).max())).astype(np.float32)


def _pluck(note: Note, timbre: _Timbre) -> np.ndarray:
    seconds = note.seconds + _RELEASE_SECONDS
    time = np.arange(int(seconds * RATE)) / RATE
    pitch = 440.0 * 2 ** ((note.pitch - 69) / 12)
    heard = [(n, strength) for n, strength in enumerate(timbre.partials, start=1) if n * pitch < RATE / 2]
    sound = np.zeros_like(time)
    for n, strength in heard:
        sound += strength * np.sin(2 * np.pi * n * pitch * time) * np.exp(-time * n / timbre.decay)
    rise = np.minimum(time / _ATTACK_SECONDS, 1.0)
    fall = np.clip((seconds - time) / _RELEASE_SECONDS, 0.0, 1.0)
    return np.asarray(sound * rise * fall)
