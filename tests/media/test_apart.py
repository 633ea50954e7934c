"""Media are read in a process of their own: what kills it is an error of that file, and nothing else."""

from __future__ import annotations

import io
import os
import signal
import time
from pathlib import Path

import pytest
from PIL import Image

from modaverse.context import Modality
from modaverse.errors import MediaError
from modaverse.media import MediaLimits, media_from_bytes, read_media
from modaverse.media.apart import MediaProcess


def child_of(process: MediaProcess) -> int:
    assert process._child is not None
    return process._child.pid


@pytest.fixture(scope="module")
def process() -> MediaProcess:
    with MediaProcess() as process:
        yield process


def test_what_it_finds_is_what_read_media_finds(process: MediaProcess, any_file, put) -> None:
    path = put(any_file.data)
    assert process.read(path) == read_media(path)


def test_an_error_is_the_same_error(process: MediaProcess, tmp_path: Path, make, put) -> None:
    for path in (tmp_path / "none.png", put(b"hello"), put(make.pillow("PNG")[:60], "cut.png")):
        with pytest.raises(MediaError) as here:
            process.read(path)
        assert here.value.hint
        assert path.name in here.value.message


def test_what_the_header_hides_is_found_by_decoding(process: MediaProcess, make, put) -> None:
    data = make.pillow("PNG", compress_level=0)
    path = put(data[:-300] + bytes(288) + data[-12:])
    read_media(path)  # the header is right
    with pytest.raises(MediaError, match="truncated or damaged"):
        process.read(path)


def test_limits_apply_there(make, put) -> None:
    with (
        MediaProcess(MediaLimits(max_pixels=100)) as process,
        pytest.raises(MediaError, match="more than 100 pixels"),
    ):
        process.read(put(make.pillow("PNG")))


def test_a_process_that_is_stuck_or_dead_costs_one_file(make, put) -> None:
    path = put(make.pillow("PNG"))
    with MediaProcess(seconds=0.3) as process:
        process.read(path)
        os.kill(child_of(process), signal.SIGSTOP)
        before = time.monotonic()
        with pytest.raises(MediaError, match=r"takes longer than 0\.3 s"):
            process.read(path)
        assert time.monotonic() - before < 3
        process._seconds = 10.0  # the machine may be busy; only the stuck one had to be quick
        assert process.read(path).modality is Modality.IMAGE
        os.kill(child_of(process), signal.SIGKILL)
        process._child.poll = lambda: None  # its death was not noticed yet
        with pytest.raises(MediaError, match="made the decoder fail"):
            process.read(path)
        assert process.read(path).modality is Modality.IMAGE


def test_it_ends_with_the_one_that_started_it(make, put) -> None:
    with MediaProcess() as process:
        process.read(put(make.pillow("PNG")))
        child = process._child
        child.stdin.close()
        assert child.wait(10) == 0


def test_memory_that_a_file_may_not_take_is_an_error(make, put) -> None:
    # 49 million pixels are within max_pixels, but 4 bytes each and copies of them are more than 256 MB.
    buffer = io.BytesIO()
    Image.new("RGBA", (7000, 7000)).save(buffer, "PNG")
    with (
        MediaProcess(MediaLimits(max_decoded_bytes=1000)) as process,
        pytest.raises(MediaError, match="memory"),
    ):
        process.read(put(buffer.getvalue()))


def test_bytes_can_be_looked_at_by_another_process(process: MediaProcess, make, tmp_path: Path) -> None:
    data = make.pillow("PNG")
    assert media_from_bytes(data, tmp_path, read=process.read) == media_from_bytes(data, tmp_path)
    with pytest.raises(MediaError, match=r"^media given as bytes: this is a text file"):
        media_from_bytes(b"hello", tmp_path, read=process.read)
