"""What is written can be read again, is the same bytes each time, and is there whole or not at all."""

from __future__ import annotations

import hashlib
import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from modaverse.context import Media, Modality
from modaverse.errors import InputError, MediaError, StorageError
from modaverse.interfaces import Frames, Pixels, Waveform
from modaverse.media import (
    MediaLimits,
    as_media,
    decode,
    media_from_array,
    media_from_bytes,
    media_from_pil,
    read_media,
    write_bytes,
    write_media,
)


def moving(frames: int, height: int, width: int) -> np.ndarray:
    """A bright square on a gradient, moving to the right."""
    y, x = np.mgrid[:height, :width]
    still = np.stack([x * 255 // width, y * 255 // height, np.full_like(x, 90)], axis=-1).astype(np.uint8)
    clip = np.repeat(still[None], frames, axis=0)
    for index in range(frames):
        clip[index, height // 4 : height // 2, index : index + width // 3] = (250, 220, 30)
    return clip


def test_pictures_are_kept_exactly(tmp_path: Path) -> None:
    array = np.random.default_rng(0).integers(0, 256, (33, 17, 3)).astype(np.uint8)
    media = write_media(Pixels(array), tmp_path)
    assert (media.modality, media.mime, media.path.suffix) == (Modality.IMAGE, "image/png", ".png")
    assert np.array_equal(decode(media).array, array)


@pytest.mark.parametrize("channels", [1, 2])
def test_sound_is_kept_to_sixteen_bits(tmp_path: Path, channels: int) -> None:
    array = np.random.default_rng(0).uniform(-1, 1, (1000, channels)).astype(np.float32)
    media = write_media(Waveform(array, 16_000), tmp_path)
    assert (media.modality, media.mime, media.path.suffix) == (Modality.AUDIO, "audio/wav", ".wav")
    read = decode(media)
    assert read.sample_rate == 16_000
    assert np.abs(read.array - array).max() <= 1 / 32768
    assert write_media(read, tmp_path).sha256 == media.sha256  # nothing is lost a second time


def test_sound_beyond_the_range_does_not_wrap_around(tmp_path: Path) -> None:
    array = np.array([[1.0], [1.7], [-1.0], [-9.0]], np.float32)
    assert decode(write_media(Waveform(array, 8000), tmp_path)).array[:, 0].tolist() == [
        32767 / 32768,
        32767 / 32768,
        -1.0,
        -1.0,
    ]


@pytest.mark.parametrize("size", [(64, 64), (50, 70), (33, 47)])
def test_clips_are_kept_closely(tmp_path: Path, size: tuple[int, int]) -> None:
    array = moving(9, *size)
    media = write_media(Frames(array, 8), tmp_path)
    assert (media.modality, media.mime, media.path.suffix) == (Modality.VIDEO, "video/mp4", ".mp4")
    read = decode(media)
    assert read.fps == 8
    even = tuple(side + side % 2 for side in size)  # H.264 in 4:2:0 has no odd sides
    assert read.array.shape == (9, *even, 3)
    difference = np.abs(read.array[:, : size[0], : size[1]].astype(int) - array)
    assert difference.mean() < 4
    assert np.percentile(difference, 95) < 12  # colour is halved in resolution, edges of it differ more


def test_a_file_is_named_by_its_content(tmp_path: Path) -> None:
    array = np.zeros((4, 4, 3), np.uint8)
    media = write_media(Pixels(array), tmp_path)
    assert hashlib.sha256(media.path.read_bytes()).hexdigest() == media.sha256
    assert media.sha256.startswith(media.path.stem.removeprefix("image-"))
    assert write_media(Pixels(array), tmp_path) == media
    assert write_media(Pixels(array + 1), tmp_path).path != media.path
    assert len(list(tmp_path.iterdir())) == 2  # no temporary file is left


BYTES_OF_EACH = """
import sys, numpy as np
from modaverse.interfaces import Frames, Pixels, Waveform
from modaverse.media import write_media
generator = np.random.default_rng(0)
for decoded in (
    Frames(np.kron(generator.integers(0, 256, (30, 9, 16, 3)), np.ones((1, 20, 20, 1))).astype(np.uint8), 25),
    Frames(generator.integers(0, 256, (9, 64, 64, 3)).astype(np.uint8), 8),
    Frames(generator.integers(0, 256, (5, 31, 45, 3)).astype(np.uint8), 8),
    Pixels(generator.integers(0, 256, (64, 64, 3)).astype(np.uint8)),
    Waveform(generator.uniform(-1, 1, (32000, 1)).astype(np.float32), 16000),
):
    print(write_media(decoded, sys.argv[1]).sha256)
"""


def test_bytes_do_not_depend_on_what_memory_held(tmp_path: Path) -> None:
    """glibc fills memory with a pattern here; an encoder that reads what it never wrote would differ."""
    results = set()
    for pattern in ("0", "85", "200"):
        environment = {**os.environ, "MALLOC_PERTURB_": pattern}
        command = [sys.executable, "-c", BYTES_OF_EACH, str(tmp_path)]
        results.add(subprocess.run(command, env=environment, capture_output=True, check=True).stdout)
    assert len(results) == 1
    assert len(results.pop().split()) == 5


def test_a_clip_carries_no_date_and_no_name_of_a_program(tmp_path: Path) -> None:
    data = write_media(Frames(moving(3, 16, 16), 8), tmp_path).path.read_bytes()
    assert b"Lavf" not in data
    header = data.index(b"mvhd") + 4
    assert data[header + 4 : header + 12] == bytes(8)  # creation and modification time


@pytest.mark.parametrize(
    "decoded",
    [
        Pixels(np.zeros((4, 4), np.uint8)),
        Pixels(np.zeros((4, 4, 3), np.float32)),
        Pixels(np.zeros((0, 4, 3), np.uint8)),
        Frames(np.zeros((4, 4, 3), np.uint8), 8),
        Frames(np.zeros((2, 4, 4, 3), np.uint8), 0),
        Frames(np.zeros((0, 4, 4, 3), np.uint8), 8),
        Waveform(np.zeros(5, np.float32), 16_000),
        Waveform(np.zeros((5, 1), np.int16), 16_000),
        Waveform(np.zeros((0, 1), np.float32), 16_000),
        Waveform(np.full((5, 1), np.nan, np.float32), 16_000),
    ],
)
def test_what_is_no_medium_is_not_written(tmp_path: Path, decoded) -> None:
    with pytest.raises(InputError, match="cannot be written") as caught:
        write_media(decoded, tmp_path)
    assert caught.value.hint
    assert list(tmp_path.iterdir()) == []


# ------------------------------------------------------------------------------ what is in memory


def test_bytes_are_kept_as_they_are(tmp_path: Path, any_file) -> None:
    media = media_from_bytes(any_file.data, tmp_path / "new")
    assert (media.modality, media.mime) == (any_file.modality, any_file.mime)
    assert media.path.read_bytes() == any_file.data
    assert read_media(media.path).sha256 == media.sha256
    assert [path.name for path in (tmp_path / "new").iterdir()] == [media.path.name]


def test_bad_bytes_are_said_without_a_path(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match=r"^media given as bytes: this is a text file"):
        media_from_bytes(b"hello", tmp_path)
    with pytest.raises(MediaError, match=r"^media given as bytes: .* exceed the limit"):
        media_from_bytes(bytes(50), tmp_path, limits=MediaLimits(max_bytes=10))
    assert list(tmp_path.iterdir()) == []


def test_pil_pictures(tmp_path: Path) -> None:
    media = media_from_pil(Image.new("RGBA", (4, 6), (255, 0, 0, 0)), tmp_path)
    assert (decode(media).array == 255).all()
    assert decode(media).array.shape == (6, 4, 3)


def test_arrays(tmp_path: Path) -> None:
    grey = media_from_array(np.full((4, 6), 0.5), tmp_path)
    assert decode(grey).array.shape == (4, 6, 3)
    assert (decode(grey).array == 128).all()
    sound = media_from_array(np.array([0, 16384, -32768], np.int16), tmp_path, sample_rate=8000)
    assert decode(sound).array[:, 0].tolist() == [0, 0.5, -1]
    clip = media_from_array(moving(5, 16, 16), tmp_path, fps=8)
    assert decode(clip).array.shape == (5, 16, 16, 3)


@pytest.mark.parametrize("array", [np.full((4, 4, 3), 2.0), np.zeros((4, 4, 3), np.int64), np.array(["x"])])
def test_arrays_that_are_no_pixels(tmp_path: Path, array) -> None:
    with pytest.raises(InputError) as caught:
        media_from_array(array, tmp_path)
    assert "uint8" in caught.value.hint
    with pytest.raises(InputError, match="both"):
        media_from_array(array, tmp_path, sample_rate=8000, fps=8)


def test_anything_that_stands_for_a_medium(tmp_path: Path, make) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(make.pillow("PNG"))
    folder = tmp_path / "made"
    media = as_media(path, folder)
    assert media.path == path
    assert not folder.exists()  # a path stays where it is
    assert as_media(str(path), folder) == media
    assert as_media(media, folder) is media
    for value in (path.read_bytes(), Image.fromarray(make.picture()), make.picture(), Pixels(make.picture())):
        made = as_media(value, folder)
        assert made.path.parent == folder
        assert np.array_equal(decode(made).array, make.picture())
    with pytest.raises(InputError, match="cannot be made of int"):
        as_media(3, folder)


# ------------------------------------------------------------------------------------- storage


@contextmanager
def small_files() -> Iterator[None]:
    """No file may grow beyond 1,000 bytes, as on a disk that is full. The test's own log is one of them."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_leaves_nothing_behind(tmp_path: Path) -> None:
    old = tmp_path / "report.html"
    write_bytes(b"old", old)
    message = r"cannot be written \(File too large\)"
    with pytest.raises(StorageError, match=message) as caught, small_files():
        write_bytes(bytes(100_000), old)
    assert caught.value.retryable
    assert "space" in caught.value.hint
    assert old.read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(StorageError, match="cannot be written"):
        write_media(Pixels(np.zeros((2, 2, 3), np.uint8)), tmp_path / "taken" / "media")


def test_media_of_a_request_are_values(tmp_path: Path) -> None:
    media = write_media(Pixels(np.zeros((2, 2, 3), np.uint8)), tmp_path)
    assert media == Media(Modality.IMAGE, media.path, "image/png", media.sha256)
    assert {media: 1}[read_media(media.path)] == 1
