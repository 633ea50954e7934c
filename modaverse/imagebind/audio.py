"""Sound as ImageBind hears it: clips of a log mel filter bank.

Legend: b batch, n samples, f frames, m mel bins.

The filter bank follows Kaldi's `compute-fbank-feats` (Povey et al., "The Kaldi Speech Recognition Toolkit",
2011) with the options that ImageBind was trained with: 25 ms frames every 10 ms, Hann window, pre-emphasis
0.97, power spectrum, no dither, no energy, only whole frames.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from modaverse.errors import MediaError
from modaverse.imagebind.config import ImageBindConfig
from modaverse.interfaces import Waveform

_FRAME_SECONDS, _HOP_SECONDS = 0.025, 0.010
_PREEMPHASIS = 0.97
_LOWEST_HZ = 20.0
_ROWS = 4  # sounds at a time: more would not fit a CPU's cache and take twice as long

_ZERO_CROSSINGS = 6  # of the resampling kernel, on each side
_ROLLOFF = 0.99  # of the lower of the two Nyquist frequencies
_HIGHEST_RATE = 400_000  # Hz; beyond what is in use, the kernel's table would fill the memory
_RESAMPLE_CHUNK = 1 << 16  # output samples at a time, so that memory stays bounded


# ------------------------------------------------------------------------------------- filter bank


def fbank(waveforms: Tensor, *, sample_rate: int = 16_000, mel_bins: int = 128) -> Tensor:
    """Log mel filter bank, Kaldi's way, of a whole batch at once.

    Args:
        waveforms: (b, n) or (n,), float, in [-1, 1].
        sample_rate: in Hz.
        mel_bins: m, spread from 20 Hz to half the sample rate.

    Returns:
        (b, f, m) or (f, m) float32 with f = 1 + (n - frame) // hop; sound shorter than a frame gives none.
    """
    frame, hop = round(sample_rate * _FRAME_SECONDS), round(sample_rate * _HOP_SECONDS)
    if waveforms.shape[-1] < frame:
        return waveforms.new_zeros(*waveforms.shape[:-1], 0, mel_bins, dtype=torch.float32)
    rows = waveforms.float().reshape(-1, waveforms.shape[-1])
    window, mel = (table.to(rows.device) for table in _tables(sample_rate, mel_bins, frame))
    energies = [_energies(part, frame, hop, window, mel) for part in torch.split(rows, _ROWS)]
    features = torch.cat(energies).clamp_min(torch.finfo(torch.float32).eps).log()
    return features.view(*waveforms.shape[:-1], -1, mel_bins)


def _energies(rows: Tensor, frame: int, hop: int, window: Tensor, mel: Tensor) -> Tensor:
    """(b, n) -> (b, f, m): energy in each mel band of each frame."""
    frames = rows.unfold(-1, frame, hop)
    frames = frames - frames.mean(dim=-1, keepdim=True)
    # The first sample's predecessor is taken to be the sample itself.
    before = torch.cat((frames[..., :1], frames[..., :-1]), dim=-1)
    spectrum = torch.fft.rfft((frames - _PREEMPHASIS * before) * window, n=_fft_size(frame))
    return torch.matmul(spectrum.real.square() + spectrum.imag.square(), mel)


def _fft_size(frame: int) -> int:
    return 1 << (frame - 1).bit_length()


@lru_cache(maxsize=8)
def _tables(sample_rate: int, mel_bins: int, frame: int) -> tuple[Tensor, Tensor]:
    """The window (frame,) and the triangular mel filters (fft // 2 + 1, m), equally wide on the mel scale."""

    def to_mel(hz: np.ndarray | float) -> np.ndarray:
        return np.asarray(1127.0 * np.log1p(np.asarray(hz) / 700.0))

    bins = _fft_size(frame) // 2
    edges = np.linspace(to_mel(_LOWEST_HZ), to_mel(sample_rate / 2), mel_bins + 2)
    left, centre, right = edges[:-2], edges[1:-1], edges[2:]
    at = to_mel(np.arange(bins + 1) * (sample_rate / (2 * bins)))[:, None]
    filters = np.minimum((at - left) / (centre - left), (right - at) / (right - centre)).clip(min=0)
    filters[bins] = 0  # Kaldi leaves out the bin at half the sample rate
    window = torch.hann_window(frame, periodic=False, dtype=torch.float64)
    return window.float(), torch.from_numpy(filters).float()


# --------------------------------------------------------------------------------------- resampling


def resample(samples: Tensor, rate: int, new_rate: int, *, start: int = 0, stop: int | None = None) -> Tensor:
    """Band-limited resampling by a Hann-windowed sinc (J. O. Smith, "Digital Audio Resampling").

    Args:
        samples: (n,) at `rate` Hz.
        start, stop: which of the new samples to compute; all of them by default.

    Returns:
        (stop - start,) float32, of ceil(n · new_rate / rate) new samples in all.
    """
    total = resampled_length(samples.shape[0], rate, new_rate)
    stop = total if stop is None else min(stop, total)
    if rate == new_rate:
        return samples[start:stop].float()
    common = math.gcd(rate, new_rate)
    old, new = rate // common, new_rate // common
    table = _sinc_table(old, new)
    reach = table.shape[1] // 2
    # Only what the wanted samples rest on is touched, however long the sound is.
    first_old = max(start * old // new - reach, 0)
    part = samples[first_old : stop * old // new + 1 + reach].float()
    windows = F.pad(part, (reach - 1, reach)).unfold(0, 2 * reach, 1)
    out = []
    for first in range(start, stop, _RESAMPLE_CHUNK):
        position = torch.arange(first, min(first + _RESAMPLE_CHUNK, stop)) * old
        out.append((windows[position // new - first_old] * table[position % new]).sum(dim=-1))
    return torch.cat(out) if out else samples.new_zeros(0)


def resampled_length(length: int, rate: int, new_rate: int) -> int:
    """How many samples `length` samples at `rate` Hz become at `new_rate` Hz."""
    return -(-length * new_rate // rate)


@lru_cache(maxsize=8)
def _sinc_table(old: int, new: int) -> Tensor:
    """(new, 2 · reach): for each fractional position of a new sample, the weights of the old ones near it."""
    cutoff = _ROLLOFF * min(1.0, new / old)  # in units of half the old sample rate
    reach = math.ceil(_ZERO_CROSSINGS / cutoff)
    offsets = np.arange(1 - reach, reach + 1)[None, :]
    distance = (offsets - np.arange(new)[:, None] / new) * cutoff
    window = np.cos(np.clip(distance / _ZERO_CROSSINGS, -1, 1) * math.pi / 2) ** 2
    return torch.from_numpy(np.sinc(distance) * window * cutoff).float()


# ----------------------------------------------------------------------------------------- features


def audio_features(samples: Tensor, config: ImageBindConfig) -> Tensor:
    """What the audio trunk reads, from sound at the configuration's sample rate, batched.

    Args:
        samples: (b, n) float in [-1, 1], one clip a row.

    Returns:
        (b, 1, audio_mel_bins, audio_frames) float32; short clips are filled up with silence's feature value.
    """
    samples = samples.float()
    samples = samples - samples.mean(dim=-1, keepdim=True)
    features = fbank(samples, sample_rate=config.audio_sample_rate, mel_bins=config.audio_mel_bins)
    missing = config.audio_frames - features.shape[-2]  # below 0: too many frames, which F.pad cuts off
    padded = F.pad(features.transpose(-1, -2), (0, missing))
    return ((padded - config.audio_mean) / config.audio_std).unsqueeze(1)


def audio_tensor(waveform: Waveform, config: ImageBindConfig | None = None) -> Tensor:
    """The clips of one sound: (audio_clips, 1, audio_mel_bins, audio_frames) float32.

    Only the first channel is heard. Clip i of n starts i/n of the way to the last possible start (so the
    first starts at 0); where the sound is shorter than a clip they coincide and are short.

    Raises:
        MediaError: no samples, not (samples, channels), or a sample rate out of range.
    """
    config = config or ImageBindConfig()
    array = waveform.array
    if array.ndim != 2 or 0 in array.shape or not 0 < waveform.sample_rate <= _HIGHEST_RATE:
        raise MediaError(
            f"a sound of the shape {array.shape} at {waveform.sample_rate} Hz cannot be encoded",
            hint=f"Give (samples, channels) with at least one sample, at up to {_HIGHEST_RATE} Hz.",
        )
    samples = torch.from_numpy(np.ascontiguousarray(array[:, 0], dtype=np.float32))
    rate, new_rate = waveform.sample_rate, config.audio_sample_rate
    length = resampled_length(samples.shape[0], rate, new_rate)
    clip = min(length, math.ceil(config.audio_clip_seconds * new_rate))
    starts = [(length - clip) * index // config.audio_clips for index in range(config.audio_clips)]
    # Clips that coincide are computed once.
    unique = {
        start: resample(samples, rate, new_rate, start=start, stop=start + clip) for start in set(starts)
    }
    order = list(unique)
    features = audio_features(torch.stack([unique[start] for start in order]), config)
    return features[[order.index(start) for start in starts]]
