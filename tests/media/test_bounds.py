"""No file costs more than the limits say, whatever it announces."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from modaverse.errors import MediaError, SettingsError
from modaverse.media import MediaLimits, decode, decode_audio, decode_image, decode_video, read_media


def test_each_limit_names_itself_in_the_hint(make, put) -> None:
    wav, clip, png = make.sound("WAV"), make.stream("mp4", "libx264"), make.pillow("PNG")
    cases = [
        (wav, MediaLimits(max_bytes=1000), "max_bytes"),
        (wav, MediaLimits(max_seconds=0.5), "max_seconds"),
        (wav, MediaLimits(max_decoded_bytes=1000), "max_decoded_bytes"),
        (png, MediaLimits(max_pixels=100), "max_pixels"),
        (clip, MediaLimits(max_pixels=100), "max_pixels"),
        (clip, MediaLimits(max_frames=11), "max_frames"),
        (clip, MediaLimits(max_seconds=0.5), "max_seconds"),
        (make.stream("mp3", audio="libmp3lame"), MediaLimits(max_seconds=0.5), "max_seconds"),
    ]
    for data, limits, name in cases:
        with pytest.raises(MediaError, match=r"file\.dat: ") as caught:
            read_media(put(data), limits=limits)
        assert name in caught.value.hint


def test_limits_above_the_file_admit_it(make, put) -> None:
    exact = MediaLimits(
        max_pixels=48 * 32, max_frames=12, max_seconds=1.0, max_decoded_bytes=12 * 48 * 32 * 3
    )
    assert decode(read_media(put(make.stream("mp4", "libx264")), limits=exact), exact).array.shape[0] == 12


def test_limits_must_be_positive() -> None:
    with pytest.raises(SettingsError, match="max_frames"):
        MediaLimits(max_frames=0)


def png_chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def test_a_picture_bomb_is_refused_by_its_header(put) -> None:
    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    path = put(
        b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header) + png_chunk(b"IDAT", b"") + png_chunk(b"IEND", b"")
    )
    for read in (read_media, decode_image):
        with pytest.raises(MediaError, match=r"60,000 × 60,000 are more than 50,000,000 pixels"):
            read(path)


def webp_of(width: int, height: int) -> bytes:
    """A WebP that announces a canvas of this size and holds one small frame."""
    frame = io.BytesIO()
    Image.new("RGB", (16, 16)).save(frame, "WEBP", lossless=True)
    canvas = struct.pack("<I", 0) + (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    chunks = b"VP8X" + struct.pack("<I", len(canvas)) + canvas + frame.getvalue()[12:]
    return b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WEBP" + chunks


@pytest.mark.parametrize("side", [8_000, 10_000, 16_383])  # where Pillow is silent, warns, refuses
def test_pictures_too_large_for_pillow_are_too_large_here(put, side: int) -> None:
    image = Image.new("1", (side, side))
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    cases = [
        (buffer.getvalue(), r"more than 50,000,000 pixels"),
        (webp_of(side, side), r"more than 50,000,000 pixels|truncated or damaged"),  # it is that, too
    ]
    for data, message in cases:
        for read in (read_media, decode_image):
            with pytest.raises(MediaError, match=message):
                read(put(data))


def test_a_sound_bomb_is_refused_by_its_header(make, put) -> None:
    silence = np.zeros(16_000 * 700, np.float32)  # packs to a few kB
    path = put(make.sound("FLAC", samples=silence))
    assert path.stat().st_size < 200_000
    with pytest.raises(MediaError, match=r"lasts 700\.0 s, the limit is 600\.0 s"):
        decode_audio(path)


def test_a_header_that_announces_too_little_does_not_help(make, put) -> None:
    data = bytearray(make.sound("FLAC", samples=np.zeros(32_000, np.float32)))
    data[21] &= 0xF0  # STREAMINFO: the number of samples, 0 means unknown
    data[22:26] = bytes(4)
    path = put(bytes(data))
    assert len(decode_audio(path).array) == 32_000
    with pytest.raises(MediaError, match=r"limit is 1\.0 s"):
        decode_audio(path, MediaLimits(max_seconds=1.0))


def test_frames_are_counted_where_the_header_does_not_say(make, put) -> None:
    path = put(make.stream("webm", "libvpx-vp9", live="1"))  # no duration, no number of frames
    assert decode_video(path).array.shape[0] == 12
    with pytest.raises(MediaError, match="more than 5 frames"):
        decode_video(path, MediaLimits(max_frames=5))


def test_a_large_clip_is_scaled_down_to_fit(make, put) -> None:
    path = put(make.stream("mp4", "libx264", size=(640, 480)))
    room = 12 * 400 * 300 * 3
    frames = decode_video(path, MediaLimits(max_decoded_bytes=room))
    assert frames.array.nbytes <= room
    assert frames.array.shape[0] == 12
    height, width = frames.array.shape[1:3]
    assert height >= 290
    assert abs(width / height - 4 / 3) < 0.02
    assert np.abs(frames.array[0, 10, 10].astype(int) - make.picture()[0, 0]).max() <= 16


def test_a_long_clip_is_thinned_out_once_it_is_small(make, put) -> None:
    path = put(make.stream("mp4", "libx264", size=(640, 480)))
    room = 4 * 341 * 256 * 3
    frames = decode_video(path, MediaLimits(max_decoded_bytes=room))
    assert frames.array.nbytes <= room
    assert frames.array.shape == (4, 256, 341, 3)
    assert frames.fps == 4  # 12 a second, every third kept


def test_a_clip_cannot_make_ffmpeg_open_another_file(tmp_path, make) -> None:
    (tmp_path / "real.mp4").write_bytes(make.stream("mp4", "libx264"))
    playlist = tmp_path / "list.mp4"
    playlist.write_text("ffconcat version 1.0\nfile real.mp4\n")
    with pytest.raises(MediaError, match="this is a text file, which is not supported"):
        read_media(playlist)
    playlist.write_text("#EXTM3U\n#EXTINF:1,\nreal.mp4\n")
    with pytest.raises(MediaError, match="this is a playlist, which is not supported"):
        read_media(playlist)
