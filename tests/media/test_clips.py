"""Clips come out frame by frame, upright, at their own rate."""

from __future__ import annotations

import numpy as np
import pytest

from modaverse.errors import MediaError
from modaverse.interfaces import Frames
from modaverse.media import decode_video, write_media


def test_frames_keep_their_order_and_their_moment(tmp_path) -> None:
    array = np.zeros((20, 32, 32, 3), np.uint8)
    for index in range(20):
        array[index] = 12 * index + 10
    frames = decode_video(write_media(Frames(array, 23.976), tmp_path).path)
    assert frames.fps == pytest.approx(23.976, abs=1e-3)
    assert np.abs(frames.array.mean(axis=(1, 2, 3)) - (12 * np.arange(20) + 10)).max() < 2


def test_a_phone_held_upright_gives_an_upright_clip(make, put) -> None:
    data = bytearray(make.stream("mp4", "libx264"))
    track = data.index(b"tkhd")
    matrix = track + 4 + 40  # after version, times, id, duration, layer, group and volume
    assert data[matrix : matrix + 4] == b"\x00\x01\x00\x00"  # upright, as fixed point 16.16
    one, minus = (1 << 16).to_bytes(4, "big"), (-(1 << 16) & 0xFFFFFFFF).to_bytes(4, "big")
    for place, value in ((0, bytes(4)), (4, one), (12, minus), (16, bytes(4))):
        data[matrix + place : matrix + place + 4] = value  # 90° clockwise
    array = decode_video(put(bytes(data))).array
    assert array.shape == (12, 48, 32, 3)
    expected = np.rot90(make.picture(), -1)
    for y, x in ((8, 6), (40, 6), (8, 26), (40, 26)):
        assert np.abs(array[0, y, x].astype(int) - expected[y, x]).max() <= 16


def test_a_single_frame_is_a_clip(make, put) -> None:
    frames = decode_video(put(make.stream("mp4", "libx264", frames=1)))
    assert frames.array.shape == (1, 32, 48, 3)
    assert frames.fps > 0


def test_a_coding_that_cannot_be_read_is_said(make, put) -> None:
    data = make.stream("matroska", "libx264").replace(b"V_MPEG4/ISO/AVC", b"V_MPEG4/ISO/ZZZ")
    with pytest.raises(MediaError, match="the video in this MKV file is of a coding that cannot be read"):
        decode_video(put(data))
