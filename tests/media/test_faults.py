"""What is wrong with a file is one line that names the file, with a hint that says what to do."""

from __future__ import annotations

import contextlib
import os
import stat
from pathlib import Path

import numpy as np
import pytest

from modaverse.errors import MediaError
from modaverse.media import MediaLimits, decode, decode_audio, decode_image, decode_video, read_media

BYTES_TABLE = [
    ("empty", b"", "the file is empty", "Give a PNG"),
    ("text", b"hello, this is no picture\n", "this is a text file", "Convert it"),
    ("page", b"<!DOCTYPE html><html></html>", "this is a web page", "Convert it"),
    ("drawing", b"<svg xmlns='http://www.w3.org/2000/svg'/>", "this is an SVG drawing", "Convert it"),
    ("pdf", b"%PDF-1.7\n", "this is a PDF document", "Convert it"),
    ("zip", b"PK\x03\x04" + bytes(40), "this is a ZIP archive", "Convert it"),
    ("tiff", b"II*\x00" + bytes(40), "this is a TIFF picture", "Convert it"),
    ("avi", b"RIFF\x00\x01\x00\x00AVI LIST", "this is an AVI file", "Convert it"),
    ("heic", b"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00", "this is HEIC, a kind of picture", "Convert it"),
    ("avif", b"\x00\x00\x00\x18ftypavif\x00\x00\x00\x00", "this is AVIF, a kind of picture", "Convert it"),
    ("midi", b"MThd" + bytes(20), "this is a MIDI file", "Convert it"),
    ("wmv", bytes.fromhex("3026b2758e66cf11") + bytes(20), "this is a Windows Media file", "Convert it"),
    ("noise", bytes(range(7, 256)) * 3, "a kind that was not recognised", "Convert it"),
    ("one byte", b"\x89", "a kind that was not recognised", "Convert it"),
    ("png start", b"\x89PNG\r\n\x1a\n", "this PNG file is truncated or damaged", "Copy or export"),
    ("jpeg start", b"\xff\xd8\xff\xe0", "this JPEG file is truncated or damaged", "Copy or export"),
    ("gif start", b"GIF89a", "this GIF file is truncated or damaged", "Copy or export"),
    ("wav start", b"RIFF\x00\x00\x00\x00WAVE", "this WAV file is truncated or damaged", "Copy or export"),
    ("flac start", b"fLaC\x00\x00", "this FLAC file is truncated or damaged", "Copy or export"),
    ("ogg start", b"OggS\x00\x02", "this OGG file is truncated or damaged", "Copy or export"),
    ("mp3 start", b"\xff\xfb\x90\x64", "this MP3 file is truncated or damaged", "Copy or export"),
    ("mp4 start", b"\x00\x00\x00\x18ftypisom", "this MP4 file is truncated or damaged", "Copy or export"),
    ("mkv start", b"\x1a\x45\xdf\xa3\x93", "this MKV file is truncated or damaged", "Copy or export"),
]


def fault(path: Path) -> MediaError:
    with pytest.raises(MediaError) as caught:
        decode(read_media(path))
    assert caught.value.exit_code == 2
    assert "\n" not in caught.value.message + caught.value.hint
    assert caught.value.hint
    return caught.value


@pytest.mark.parametrize(
    ("data", "message", "hint"), [row[1:] for row in BYTES_TABLE], ids=[r[0] for r in BYTES_TABLE]
)
def test_what_cannot_be_used_is_named(put, data: bytes, message: str, hint: str) -> None:
    error = fault(put(data, "holiday.png"))
    assert "holiday.png: " in error.message
    assert message in error.message
    assert hint in error.hint


def test_missing_file(tmp_path: Path) -> None:
    error = fault(tmp_path / "nowhere.wav")
    assert error.message == f"{tmp_path / 'nowhere.wav'}: no such file"
    assert "path" in error.hint


def test_folder(tmp_path: Path) -> None:
    assert "this is a folder" in fault(tmp_path).message


def test_pipe_is_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert "device, pipe or socket" in fault(tmp_path / "pipe").message


@pytest.mark.parametrize("device", ["/dev/zero", "/dev/null", "/dev/tty"])
def test_device(device: str) -> None:
    assert "device, pipe or socket" in fault(Path(device)).message


def test_link_to_a_device(tmp_path: Path) -> None:
    (tmp_path / "cat.png").symlink_to("/dev/zero")
    assert "device, pipe or socket" in fault(tmp_path / "cat.png").message


def test_no_permission(put, monkeypatch) -> None:
    path = put(b"x")
    path.chmod(stat.S_IWUSR)
    if os.geteuid() == 0:  # whom no permission stops

        def refuse(*_: object) -> int:
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr(os, "open", refuse)
    assert "may not be read" in fault(path).message


@pytest.mark.parametrize("name", ["a\nb.png", "\x1b[31mred.png", "caf\udce9.png"])
def test_a_name_cannot_write_to_the_terminal(tmp_path: Path, name: str) -> None:
    message = fault(tmp_path / name).message
    assert message.isprintable()
    message.encode()


def test_impossible_paths() -> None:
    assert "cannot be opened" in fault(Path("a\0b")).message
    assert "cannot be opened" in fault(Path("x" * 5000)).message


# What is left after a cut still is a whole picture or sound: the end of a PNG or GIF holds no pixels, a few
# bytes at the end of a WAV may be miscounted by those who write them.
HARMLESS = {"png": 32, "gif": 2, "wav": 8}


@pytest.mark.parametrize("part", [0.15, 0.3, 0.6, 0.9, 0.999])
def test_a_file_that_was_cut_off_is_never_taken_for_a_whole_one(any_file, put, part: float) -> None:
    keep = min(int(len(any_file.data) * part), len(any_file.data) - 1 - HARMLESS.get(any_file.name, 0))
    error = fault(put(any_file.data[:keep]))
    assert "truncated or damaged" in error.message


def test_damage_anywhere_is_an_error_or_harmless(any_file, put) -> None:
    """Nothing but a `MediaError` leaves a decoder, wherever the bytes are wrong."""
    generator = np.random.default_rng(1)
    for trial in range(25):
        data = bytearray(any_file.data)
        reach = len(data) if trial % 2 else min(len(data), 300)  # headers are where it hurts
        for at in generator.integers(0, reach, generator.integers(1, 10)):
            data[at] = generator.integers(0, 256)
        path = put(bytes(data))
        with contextlib.suppress(MediaError):
            decode(read_media(path))


def test_the_wrong_kind_is_said(make, put) -> None:
    png, wav, mp4 = make.pillow("PNG"), make.sound("WAV"), make.stream("mp4", "libx264")
    with pytest.raises(MediaError, match="this is a sound, but a picture was expected"):
        decode_image(put(wav))
    with pytest.raises(MediaError, match="this is a clip, but a sound was expected"):
        decode_audio(put(mp4))
    with pytest.raises(MediaError, match="this is a picture, but a clip was expected"):
        decode_video(put(png))


def test_sound_of_numbers_that_are_none(make, put) -> None:
    samples = make.tone()
    samples[100] = np.nan
    error = fault(put(make.sound("WAV", "FLOAT", samples)))
    assert "some samples are no numbers" in error.message


def test_sound_without_samples(make, put) -> None:
    assert "there is no sound in it" in fault(put(make.sound("WAV", samples=np.zeros(0, np.float32)))).message


def test_loud_sound_is_clipped_to_the_range(make, put) -> None:
    array = decode_audio(put(make.sound("WAV", "FLOAT", make.tone() * 5))).array
    assert np.abs(array).max() == 1.0


def test_a_recorder_that_could_not_fill_in_the_size_is_forgiven(make, put) -> None:
    data = bytearray(make.sound("WAV"))
    data[4:8] = b"\xff\xff\xff\xff"
    data[40:44] = b"\xff\xff\xff\xff"
    assert len(decode_audio(put(bytes(data)), MediaLimits()).array) == 16_000
