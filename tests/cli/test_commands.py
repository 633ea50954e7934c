"""The command as a user calls it: help, errors, exit codes, and what it does not load."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from modaverse.errors import GenerationError, MediaError, ModaVerseError, StorageError
from modaverse.media import decode, read_media

HEAVY = ("torch", "transformers", "diffusers", "numpy", "PIL", "av", "rich.console", "pydantic_settings")


def test_help_loads_nothing_heavy(python) -> None:
    script = (
        "import sys, atexit\n"
        f"atexit.register(lambda: print([m for m in {HEAVY!r} if m in sys.modules], file=sys.stderr))\n"
        "from modaverse.cli import main; main()"
    )
    for arguments in (["--help"], ["run", "--help"], ["toybox", "sample", "--help"], ["--version"]):
        result = python(script, *arguments)
        assert result.returncode == 0
        assert result.stderr.strip() == "[]"


def test_help_names_every_command(modaverse) -> None:
    text = modaverse("--help").stdout
    for command in ("run", "generators", "toybox"):
        assert f"\n  {command} " in text


def test_version(modaverse) -> None:
    assert modaverse("--version").stdout.startswith("modaverse 0.")


MEDIA_TABLE = [
    ("nowhere.png", None, "nowhere.png: no such file"),
    ("empty.wav", b"", "empty.wav: the file is empty"),
    ("notes.png", b"only text", "notes.png: this is a text file, which is not supported"),
    ("cut.mp4", b"\x00\x00\x00\x18ftypisom", "cut.mp4: this MP4 file is truncated or damaged"),
    (".", None, ".: this is a folder"),
    ("/dev/zero", None, "/dev/zero: this is no regular file"),
]


@pytest.mark.parametrize(("name", "data", "message"), MEDIA_TABLE, ids=[row[0] for row in MEDIA_TABLE])
def test_bad_media_are_one_line_and_exit_code_2(modaverse, tmp_path, name: str, data, message: str) -> None:
    if data is not None:
        (tmp_path / name).write_bytes(data)
    result = modaverse("run", "Draw what you hear.", "--media", name)
    assert result.returncode == 2
    assert result.stdout == ""
    assert result.stderr.startswith(f"error: {message}")
    assert "  hint: " in result.stderr
    assert result.stderr.count("\n") == 1
    assert not (tmp_path / "outputs").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ["run"],
        ["run", "x", "--seed", "-1"],
        ["run", "x", "--seed", "many"],
        ["nonsense"],
        ["run", "x", "--bad"],
    ],
)
def test_a_wrong_call_is_explained_and_exits_with_2(modaverse, arguments: list[str]) -> None:
    result = modaverse(*arguments)
    assert result.returncode == 2
    assert "Usage: modaverse" in result.stderr
    assert "Traceback" not in result.stderr


GUARDED = """
import sys
import typer
from modaverse.cli.guard import guarded
from modaverse import errors
app = typer.Typer(pretty_exceptions_enable=False)
@app.command()
@guarded
def command() -> None:
    {body}
app()
"""


@pytest.mark.parametrize("kind", [MediaError, GenerationError, StorageError, ModaVerseError])
def test_errors_end_with_their_exit_code(python, kind: type[ModaVerseError]) -> None:
    body = f"raise errors.{kind.__name__}('it broke\\nbadly', hint='Mend it.')"
    result = python(GUARDED.format(body=body))
    assert result.returncode == kind.exit_code
    assert result.stderr == "error: it broke badly  hint: Mend it.\n"


def test_ctrl_c_is_one_line(tmp_path: Path) -> None:
    # A shell starts what it puts into the background deaf to Ctrl-C, and perhaps the tests are there.
    body = (
        "import signal, time; signal.signal(signal.SIGINT, signal.default_int_handler);"
        "print('ready', flush=True); time.sleep(30)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", GUARDED.format(body=body)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=20)
    assert process.returncode == 130
    assert errors == "interrupted\n"


def test_a_reader_that_leaves_is_no_error(tmp_path: Path) -> None:
    body = "[print('line ' * 20, flush=True) for _ in range(100000)]"
    read, write = os.pipe()
    process = subprocess.Popen(
        [sys.executable, "-c", GUARDED.format(body=body)], stdout=write, stderr=subprocess.PIPE, text=True
    )
    os.close(write)
    os.read(read, 10)
    os.close(read)
    _, errors = process.communicate(timeout=20)
    assert process.returncode == 141
    assert errors == ""


# ---------------------------------------------------------------------------------- toybox sample


@pytest.mark.parametrize(
    ("kind", "name", "shape"),
    [("image", "a.png", (64, 64, 3)), ("video", "a.mp4", (9, 64, 64, 3)), ("audio", "a.wav", (32000, 1))],
)
def test_toybox_samples_are_files_of_their_kind(modaverse, tmp_path, kind: str, name: str, shape) -> None:
    arguments = ("toybox", "sample", "--kind", kind, "--seed", "4", "--thing", "bell", "--out")
    result = modaverse(*arguments, tmp_path / "one" / name)
    assert result.returncode == 0, result.stderr
    assert "bell" in result.stdout
    media = read_media(tmp_path / "one" / name)
    assert media.modality.value == kind
    assert decode(media).array.shape == shape
    modaverse(*arguments, tmp_path / "two" / name)
    assert read_media(tmp_path / "two" / name).sha256 == media.sha256


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--kind", "image", "--thing", "cow", "--out", "a.png"], "there is no thing 'cow'"),
        (["--kind", "image", "--pitch", "low", "--out", "a.png"], "image has no pitch"),
        (["--kind", "audio", "--colour", "red", "--out", "a.wav"], "audio has no colour"),
        (["--kind", "audio", "--out", "a.png"], "a.png: this would be a .wav file"),
    ],
)
def test_wishes_that_cannot_be_met(modaverse, arguments: list[str], message: str) -> None:
    result = modaverse("toybox", "sample", "--seed", "1", *arguments)
    assert result.returncode == 2
    assert result.stderr.startswith(f"error: {message}")
    assert "hint:" in result.stderr


def test_a_wish_changes_nothing_else(modaverse) -> None:
    def scene(*wishes: str) -> list[str]:
        result = modaverse("toybox", "sample", "--kind", "image", "--seed", "5", "--out", "a.png", *wishes)
        return result.stdout.strip().removeprefix("a.png: ").split(", ")

    free = scene()
    assert scene("--colour", "purple") == [free[0], "purple", *free[2:]]
