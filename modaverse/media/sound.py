"""Decoding sound: WAV and FLAC by libsndfile, everything else by FFmpeg."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import soundfile

from modaverse.context import Modality
from modaverse.interfaces import Waveform
from modaverse.media.containers import Container
from modaverse.media.files import MediaLimits, OpenFile, faults, one_line, open_file
from modaverse.media.kinds import require
from modaverse.media.streams import check_duration, open_stream, require_decoder, too_long

_DEFAULT = MediaLimits()
_UNKNOWN = 2**62  # libsndfile says the largest number there is


def decode_audio(path: Path | str, limits: MediaLimits = _DEFAULT) -> Waveform:
    """Sound with its own sample rate and channels.

    Returns:
        Waveform, (samples, channels) float32 in [-1, 1].

    Raises:
        MediaError: the file is no sound, is damaged, or is longer than `limits` allow.
    """
    with open_file(path, limits) as opened:
        require(opened, Modality.AUDIO, limits)
        samples, rate = _read(opened, limits)
    if len(samples) == 0:
        raise opened.error("there is no sound in it", "Give a file with at least one sample.")
    if not np.isfinite(samples).all():
        raise opened.damaged("some samples are no numbers")
    return Waveform(np.clip(samples, -1.0, 1.0, out=samples), rate)


def _read(opened: OpenFile, limits: MediaLimits) -> tuple[np.ndarray, int]:
    if opened.container in (Container.WAV, Container.FLAC):
        with open_sound(opened) as sound:
            # libsndfile cannot read a FLAC stream whose length was never filled in, FFmpeg can.
            if opened.container is Container.WAV or sound.frames < _UNKNOWN:
                return _read_sound(opened, sound, limits)
    return _read_stream(opened, limits)


@contextlib.contextmanager
def open_sound(opened: OpenFile) -> Iterator[soundfile.SoundFile]:
    opened.file.seek(0)
    try:
        sound = soundfile.SoundFile(opened.file)
    except soundfile.SoundFileError as error:
        raise opened.damaged(one_line(error)) from None
    with sound:
        yield sound


def check_sound(opened: OpenFile, sound: soundfile.SoundFile, limits: MediaLimits) -> None:
    if sound.samplerate < 1 or sound.channels < 1:
        raise opened.damaged(f"{sound.channels} channels at {sound.samplerate} Hz")
    if sound.frames < _UNKNOWN:
        _check_length(opened, sound.frames, sound.samplerate, sound.channels, limits)


def _check_length(opened: OpenFile, samples: int, rate: int, channels: int, limits: MediaLimits) -> None:
    if samples > limits.max_seconds * rate:
        too_long(opened, samples / rate, limits)
    if samples * channels * 4 > limits.max_decoded_bytes:
        raise opened.error(
            f"its {channels} channels at {rate:,} Hz, decoded, pass {limits.max_decoded_bytes / 1e6:,.0f} MB",
            "Shorten it, lower its sample rate, or raise the media limit max_decoded_bytes.",
        )


def _read_sound(opened: OpenFile, sound: soundfile.SoundFile, limits: MediaLimits) -> tuple[np.ndarray, int]:
    check_sound(opened, sound, limits)
    blocks: list[np.ndarray] = []
    total = 0
    with faults(opened):
        while len(block := sound.read(65_536, dtype="float32", always_2d=True)):
            blocks.append(block)
            total += len(block)
            _check_length(opened, total, sound.samplerate, sound.channels, limits)
    if opened.container is Container.FLAC and total < sound.frames:
        raise opened.damaged(f"{total:,} of {sound.frames:,} samples")
    return _joined(blocks, sound.channels), sound.samplerate


def _read_stream(opened: OpenFile, limits: MediaLimits) -> tuple[np.ndarray, int]:
    with open_stream(opened, limits) as container, faults(opened):
        check_duration(opened, container, limits)
        stream = container.streams.audio[0]
        require_decoder(opened, stream)
        rate, channels = stream.rate, stream.channels
        if not rate or not channels:
            raise opened.damaged("no sample rate")
        resampler = av.AudioResampler(format="fltp", layout=stream.layout, rate=rate)
        blocks: list[np.ndarray] = []
        total = 0
        for frame in container.decode(stream):
            for part in resampler.resample(frame):
                blocks.append(part.to_ndarray().T)
                total += part.samples
            _check_length(opened, total, rate, channels, limits)
        blocks.extend(part.to_ndarray().T for part in resampler.resample(None))
    return _joined(blocks, channels), rate


def _joined(blocks: list[np.ndarray], channels: int) -> np.ndarray:
    return np.ascontiguousarray(np.concatenate([np.zeros((0, channels), np.float32), *blocks]))
