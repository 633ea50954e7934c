"""Which formats are read, how one is told from another, and how rows made of them are written."""

from __future__ import annotations

import contextlib
import tarfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from modaverse.data.captions import Captioned, read_coco, read_table
from modaverse.data.entries import Places, read_json
from modaverse.data.llava import read_llava
from modaverse.data.released import read_released
from modaverse.data.tars import read_tar
from modaverse.errors import DataError, InputError, SettingsError
from modaverse.media.files import shown
from modaverse.training.rows import Row, write_jsonl

RowReader = Callable[[Path, Places], Iterator[Row | InputError]]
CaptionReader = Callable[[Path, Places], Iterator[Captioned | InputError]]

ROWS: dict[str, RowReader] = {"modaverse": read_released, "llava": read_llava}
"""Formats whose entries are conversations already."""

CAPTIONS: dict[str, CaptionReader] = {"coco": read_coco, "csv": read_table, "webdataset": read_tar}
"""Formats of media with captions."""


@dataclass
class Written:
    """`rows` were written; each of `faults` is an entry that could not be used."""

    rows: int = 0
    faults: list[InputError] = field(default_factory=list)


def format_of(path: Path) -> str:
    """The format of a file, by its content.

    Raises:
        DataError: the file cannot be read, or is of none.
    """
    if path.suffix.lower() in (".csv", ".tsv"):
        return "csv"
    try:
        if tarfile.is_tarfile(path):
            return "webdataset"
    except OSError as error:
        raise DataError(
            f"cannot read {shown(path)}: {error.strerror}", hint="Give a file of data."
        ) from error
    value = read_json(path)
    first = value[0] if isinstance(value, list) and value else value
    if isinstance(first, dict):
        keys = {"modaverse": "meta_response", "llava": "conversations", "coco": "annotations"}
        for name, key in keys.items():
            if key in first:
                return name
    raise DataError(
        f"{shown(path)} is of no known format", hint=f"Name one (--format): {', '.join((*ROWS, *CAPTIONS))}."
    )


def read_captions(
    paths: Sequence[Path], places: Callable[[Path], Places], format: str | None = None
) -> Iterator[Captioned | InputError]:
    """Captioned media of files, one file after the other.

    Raises:
        DataError: a file cannot be read.
        SettingsError: a format is no list of captions.
    """
    for path in paths:
        name = format or format_of(path)
        if name not in CAPTIONS:
            raise SettingsError(
                f"{shown(path)}: {name} is no list of captions", hint=f"Those are {', '.join(CAPTIONS)}."
            )
        yield from CAPTIONS[name](path, places(path))


def read_rows(
    paths: Sequence[Path],
    places: Callable[[Path], Places],
    describe: Callable[[Iterable[Captioned | InputError]], Iterable[Row | InputError]],
    format: str | None = None,
) -> Iterator[Row | InputError]:
    """Rows of files in other formats.

    Args:
        places: where the media of a file lie.
        describe: makes rows of media with captions, as `modaverse.data.building` does.
        format: one of `ROWS` and `CAPTIONS`; known by the content where it is None.

    Raises:
        DataError: a file cannot be read.
        SettingsError: there is no such format.
    """
    for path in paths:
        name = format or format_of(path)
        if name in ROWS:
            yield from ROWS[name](path, places(path))
        elif name in CAPTIONS:
            yield from describe(CAPTIONS[name](path, places(path)))
        else:
            raise SettingsError(
                f"there is no format {name}", hint=f"There are {', '.join((*ROWS, *CAPTIONS))}."
            )


class _Wrong(Exception):
    pass


def write_rows(out: Path, items: Iterable[Row | InputError], *, skip_wrong: bool) -> Written:
    """Write rows to `out`. Where there are faults and `skip_wrong` is not set, all of them are found and
    nothing is written.

    Raises:
        StorageError: `out` cannot be written.
    """
    written = Written()

    def sound() -> Iterator[Row]:
        for item in items:
            if isinstance(item, InputError):
                written.faults.append(item)
            else:
                yield item
        if written.faults and not skip_wrong:
            raise _Wrong

    with contextlib.suppress(_Wrong):
        written.rows = write_jsonl(out, sound())
    return written
