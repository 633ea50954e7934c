from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from modaverse.errors import MediaError
from modaverse.imagebind import ImageBindConfig, audio_features, audio_tensor, fbank, load_audio
from modaverse.imagebind.audio import resample, resampled_length
from modaverse.interfaces import Waveform


def tone(hz: float, rate: int, seconds: float) -> Tensor:
    return torch.sin(2 * math.pi * hz * torch.arange(int(rate * seconds), dtype=torch.float64) / rate).float()


@pytest.mark.parametrize(
    ("name", "bar"),
    [
        ("long_16k_mono.wav", 2e-3),
        ("short_16k_mono.wav", 2e-3),
        ("mono_48k.flac", 2e-2),
        ("stereo_44k.wav", 2e-2),
    ],
)
def test_features_are_the_published_ones(
    name: str, bar: float, media: Path, preprocessing: dict[str, Tensor]
) -> None:
    got = load_audio(media / name)
    expected = preprocessing[f"audio.{name}"].float()
    assert got.shape == (3, 1, 128, 204)
    assert (got - expected).abs().mean() <= bar
    assert (got - expected).abs().mean(dim=(1, 2, 3)).max() <= bar  # of every clip


def test_filter_bank_of_a_batch_is_that_of_its_rows() -> None:
    waveforms = torch.randn(9, 8000, generator=torch.Generator().manual_seed(0)) * 0.1
    together = fbank(waveforms)
    assert together.shape == (9, 1 + (8000 - 400) // 160, 128)
    torch.testing.assert_close(together, torch.stack([fbank(row) for row in waveforms]))
    torch.testing.assert_close(together, fbank(waveforms.view(3, 3, -1)).view_as(together))


def test_filter_bank_hears_where_a_tone_is() -> None:
    """The loudest band is the one whose centre, on the mel scale, is next to the tone."""
    edges = torch.linspace(1127 * math.log1p(20 / 700), 1127 * math.log1p(8000 / 700), 130)
    for hz in (440.0, 1000.0, 3000.0):
        loudest = fbank(tone(hz, 16_000, 0.5)).mean(dim=0).argmax().item()
        assert abs(loudest - (edges[1:-1] - 1127 * math.log1p(hz / 700)).abs().argmin().item()) <= 1


def test_silence_and_sound_shorter_than_a_frame() -> None:
    assert fbank(torch.zeros(2, 399)).shape == (2, 0, 128)
    assert torch.equal(fbank(torch.zeros(400)), torch.full((1, 128), torch.finfo().eps).log())
    config = ImageBindConfig()
    assert torch.equal(audio_features(torch.zeros(1, 5), config), torch.full((1, 1, 128, 204), 4.268) / 9.138)


def test_too_many_frames_are_cut_and_too_few_filled_up() -> None:
    config = ImageBindConfig()
    samples = torch.randn(1, 40_000, generator=torch.Generator().manual_seed(0))
    long = audio_features(samples, config)
    assert long.shape == (1, 1, 128, 204)
    short = audio_features(samples[:, :16_000], config)
    torch.testing.assert_close(short[..., 98:], torch.full((1, 1, 128, 106), 4.268 / 9.138))


# --------------------------------------------------------------------------------------- resampling


@pytest.mark.parametrize("rate", [8000, 11_025, 22_050, 44_100, 48_000, 44_101])
def test_a_tone_keeps_its_pitch_and_loudness(rate: int) -> None:
    got = resample(tone(1000, rate, 0.3), rate, 16_000)
    assert got.shape[0] == resampled_length(int(rate * 0.3), rate, 16_000)
    middle = slice(200, -200)  # at the ends there is nothing to lean on
    assert (got - tone(1000, 16_000, 1.0)[: len(got)])[middle].abs().max() < 0.01


def test_what_the_new_rate_cannot_hold_is_removed() -> None:
    assert resample(tone(15_000, 48_000, 0.3), 48_000, 16_000)[200:-200].abs().max() < 0.01


@pytest.mark.parametrize("rate", [16_000, 44_100, 8000])
def test_a_part_is_that_part_of_the_whole(rate: int) -> None:
    samples = torch.randn(rate // 2, generator=torch.Generator().manual_seed(0))
    whole = resample(samples, rate, 16_000)
    for start, stop in ((0, 100), (3000, 5000), (7900, 9999), (8000, 9000)):
        torch.testing.assert_close(resample(samples, rate, 16_000, start=start, stop=stop), whole[start:stop])


# --------------------------------------------------------------------------------------------- clips


def test_only_the_first_channel_is_heard() -> None:
    left, right = (np.random.default_rng(seed).normal(size=20_000).astype(np.float32) for seed in (0, 1))
    both = audio_tensor(Waveform(np.stack([left, right], axis=1), 16_000))
    torch.testing.assert_close(both, audio_tensor(Waveform(left[:, None], 16_000)))


def test_clips_start_where_they_should() -> None:
    """Three clips of an 8 s sound start at 0 s, 2 s and 4 s; one click in each tells."""
    inside = [1000, 5000, 10_000]
    samples = np.zeros((8 * 16_000, 1), np.float32)
    for start, at in zip((0, 2, 4), inside, strict=True):
        samples[start * 16_000 + at] = 1
    clips = audio_tensor(Waveform(samples, 16_000))
    loudest = (
        clips[:, 0, :, :198].mean(dim=1).argmax(dim=-1)
    )  # frame; its middle is 200 samples from its start
    assert [abs(int(frame) * 160 + 200 - at) <= 160 for frame, at in zip(loudest, inside, strict=True)] == [
        True
    ] * 3


def test_one_clip_of_small_settings() -> None:
    config = replace(ImageBindConfig(), audio_clips=1)
    samples = np.random.default_rng(0).normal(size=(32_000, 1)).astype(np.float32) * 0.1
    got = audio_tensor(Waveform(samples, 16_000), config)
    torch.testing.assert_close(got, audio_features(torch.from_numpy(samples.T.copy()), config))
    assert got.shape == (1, 1, 128, 204)


@pytest.mark.parametrize(
    ("shape", "rate"), [((0, 1), 16_000), ((10,), 16_000), ((10, 0), 16_000), ((10, 1), 0), ((10, 1), 2**31)]
)
def test_impossible_sound_is_refused(shape: tuple[int, ...], rate: int) -> None:
    with pytest.raises(MediaError):
        audio_tensor(Waveform(np.zeros(shape, np.float32), rate))
