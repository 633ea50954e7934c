"""Every supported kind is known by its content, whatever its name, and gives what was put into it."""

from __future__ import annotations

import hashlib

import numpy as np

from modaverse.context import Modality
from modaverse.media import decode, decode_audio, decode_image, decode_video, read_media, sniff


def test_kind_is_read_from_the_content(any_file, put) -> None:
    path = put(any_file.data, "misleading.txt")
    assert sniff(path) == (any_file.modality, any_file.mime)
    media = read_media(path)
    assert (media.modality, media.mime, media.path) == (any_file.modality, any_file.mime, path)
    assert media.sha256 == hashlib.sha256(any_file.data).hexdigest()
    assert decode(media).modality is any_file.modality


def test_pictures_keep_their_colours(picture_file, put, make) -> None:
    pixels = decode_image(put(picture_file.data)).array
    assert pixels.shape == (32, 48, 3)
    assert pixels.dtype == np.uint8
    for y, x in ((6, 8), (6, 40), (26, 8), (26, 40)):  # the middle of each block
        assert np.abs(pixels[y, x].astype(int) - make.picture()[y, x]).max() <= 12


def test_sounds_keep_pitch_level_and_length(sound_file, put) -> None:
    waveform = decode_audio(put(sound_file.data))
    array, rate = waveform.array, waveform.sample_rate
    assert array.dtype == np.float32
    assert array.flags.c_contiguous
    assert array.ndim == 2
    assert abs(len(array) / rate - 1.0) < 0.06  # lossy codecs pad to whole frames
    channel = array[: rate * 9 // 10, 0]
    spectrum = np.abs(np.fft.rfft(channel * np.hanning(len(channel))))
    assert abs(spectrum.argmax() * rate / len(channel) - 440) < 3
    assert abs(np.abs(channel).max() - 0.4) < 0.05


def test_clips_keep_frames_rate_and_colours(clip_file, put, make) -> None:
    frames = decode_video(put(clip_file.data))
    assert frames.array.shape == (12, 32, 48, 3)
    assert frames.fps == 12
    for y, x in ((6, 8), (6, 40), (26, 8), (26, 40)):
        assert np.abs(frames.array[:, y, x].astype(int) - make.picture()[y, x]).max() <= 16


def test_a_tag_before_a_sound_does_not_hide_it(make, put) -> None:
    tag = b"ID3\x03\x00\x00" + bytes([0, 0, 0x4F, 0x10]) + bytes(0x4F << 7 | 0x10)  # longer than the head
    mp3 = make.stream("mp3", audio="libmp3lame", id3v2_version="0")
    assert not mp3.startswith(b"ID3")
    assert sniff(put(mp3)) == (Modality.AUDIO, "audio/mpeg")
    assert sniff(put(tag + mp3)) == (Modality.AUDIO, "audio/mpeg")
    assert sniff(put(tag + make.sound("FLAC"))) == (Modality.AUDIO, "audio/flac")


def test_a_cover_picture_does_not_make_a_clip_of_a_sound(make, put) -> None:
    cover = make.pillow("PNG")
    frame = b"APIC" + (14 + len(cover)).to_bytes(4, "big") + b"\x00\x00\x00image/png\x00\x03\x00" + cover
    size = len(frame)
    tag = b"ID3\x03\x00\x00" + bytes(size >> shift & 0x7F for shift in (21, 14, 7, 0)) + frame
    path = put(tag + make.stream("mp3", audio="libmp3lame", id3v2_version="0"))
    assert sniff(path) == (Modality.AUDIO, "audio/mpeg")
    assert len(decode_audio(path).array) > 40_000
