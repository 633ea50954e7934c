"""Where replies are saved."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from modaverse.errors import StorageError

OUTPUTS = Path("outputs")


@contextmanager
def output_folder(out: Path | None) -> Iterator[Path]:
    """The folder `out`, or the next free one of outputs/0001, 0002, …; gone again if nothing came into it.

    Raises:
        StorageError: it cannot be made.
    """
    folder = _claim(out)
    try:
        yield folder
    finally:
        for path in (folder / "media", folder, OUTPUTS):
            with suppress(OSError):
                path.rmdir()  # which removes empty folders only


def _claim(out: Path | None) -> Path:
    """Make the folder; made and not only chosen, so that two runs at once do not take the same."""
    try:
        if out is not None:
            out.mkdir(parents=True, exist_ok=True)
            return out
        OUTPUTS.mkdir(exist_ok=True)
        number = 1 + max((int(path.name) for path in OUTPUTS.iterdir() if path.name.isdigit()), default=0)
        while True:
            with suppress(FileExistsError):
                folder = OUTPUTS / f"{number:04d}"
                folder.mkdir()
                return folder
            number += 1
    except OSError as error:
        raise StorageError(
            f"{out or OUTPUTS}: the folder cannot be made ({error.strerror})",
            hint="Name another with --out, or free some space.",
        ) from error
