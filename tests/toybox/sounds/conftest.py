"""Measures of sound that the tests share; they know nothing of how the sounds were made."""

from __future__ import annotations

import numpy as np
import pytest

RATE = 16_000
WINDOW, HOP = 512, 160


def _filters(count: int) -> np.ndarray:
    """(count, bins) triangles, evenly spaced on the mel scale between 60 Hz and 7 kHz."""
    mel = np.linspace(2595 * np.log10(1 + 60 / 700), 2595 * np.log10(1 + 7000 / 700), count + 2)
    edges = 700 * (10 ** (mel / 2595) - 1)
    bins = np.fft.rfftfreq(WINDOW, 1 / RATE)
    rising = (bins - edges[:-2, None]) / np.diff(edges)[:-1, None]
    falling = (edges[2:, None] - bins) / np.diff(edges)[1:, None]
    return np.maximum(0.0, np.minimum(rising, falling))


class Ear:
    """Log-mel pictures of sound, its brightness, and the rate of its events."""

    def __init__(self) -> None:
        self.filters = _filters(48)
        self.window = np.hanning(WINDOW)

    def power(self, sound: np.ndarray) -> np.ndarray:
        """(frames, bins) power of a (n,) sound."""
        frames = np.lib.stride_tricks.sliding_window_view(sound, WINDOW)[::HOP]
        return np.abs(np.fft.rfft(frames * self.window)) ** 2

    def log_mel(self, sound: np.ndarray) -> np.ndarray:
        """(frames, 48) levels in bels below the sound's loudest, down to 3.5."""
        mel = self.power(sound) @ self.filters.T
        return np.log10(np.maximum(mel / max(float(mel.max()), 1e-12), 10**-3.5))

    def features(self, sound: np.ndarray) -> np.ndarray:
        """(288,) what is heard but not when: quantiles of each band, of its changes, and its fast flutter."""
        mel = self.log_mel(sound)
        change = np.abs(np.diff(mel, axis=0))
        rows = [*np.quantile(mel, (0.5, 0.8, 0.97), axis=0), *np.quantile(change, (0.5, 0.8, 0.97), axis=0)]
        return np.concatenate(rows)

    def centroid(self, sound: np.ndarray) -> float:
        """Hz: the mean of the logarithm of frequency, weighted by the magnitude of the loud bins."""
        spectrum = np.sqrt(self.power(sound).mean(axis=0))[2:]
        spectrum = np.maximum(0.0, spectrum - 0.03 * spectrum.max())
        frequency = np.fft.rfftfreq(WINDOW, 1 / RATE)[2:]
        return float(np.exp(np.sum(spectrum * np.log(frequency)) / np.sum(spectrum)))

    def event_rate(self, sound: np.ndarray) -> float:
        """Events a second: where the autocorrelation of the novelty of the spectrum peaks first."""
        mel = self.log_mel(sound)
        rise = np.maximum(0.0, mel[4:] - mel[:-4]).sum(axis=1)
        rise -= rise.mean()
        size = 2 * len(rise)
        auto = np.fft.irfft(np.abs(np.fft.rfft(rise, size)) ** 2, size)[: len(rise)]
        frames = RATE / HOP
        lags = np.arange(int(frames / 5.2), int(frames / 1.0))
        values = auto[lags]
        strong = values >= 0.75 * values.max()
        peaks = strong[1:-1] & (values[1:-1] >= values[:-2]) & (values[1:-1] >= values[2:])
        first = lags[1:-1][peaks][0] if peaks.any() else lags[int(values.argmax())]
        return float(frames / first)


@pytest.fixture(scope="session")
def ear() -> Ear:
    return Ear()
