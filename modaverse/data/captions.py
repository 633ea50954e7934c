"""Media with captions: COCO's JSON and tables (CSV, TSV). Tars are read in `tars`.

A table has a header. The column of the file is the first of `FILES` that it has; captions stand in columns
called caption, title or text, also numbered (caption_1, caption_2, ...).
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from modaverse.data.entries import Places, entries, fields_of, read_json, words
from modaverse.errors import DataError, InputError
from modaverse.media.files import shown

FILES = ("uri", "path", "file", "filepath", "file_path", "filename", "file_name", "image", "audio", "video")
_CAPTION = re.compile(r"(caption|title|text)s?[ _]?\d*")


@dataclass(frozen=True, slots=True)
class Captioned:
    """A medium and what people said of it. `uri` counts from where the rows will lie, `where` is its place
    in the data, for messages."""

    uri: str
    captions: tuple[str, ...]
    where: str


def read_coco(path: Path, places: Places) -> Iterator[Captioned | InputError]:
    """COCO's captions: `images` with `id` and `file_name`, `annotations` with `image_id` and `caption`.

    Raises:
        DataError: the file cannot be read, or is not of this form.
    """
    whole = fields_of(read_json(path), ("images", "annotations"), shown(path))
    captions: dict[object, list[str]] = {}
    for entry, where in entries(whole["annotations"], path):
        try:
            fields = fields_of(entry, ("image_id", "caption"), where.replace("entry", "annotation"))
            said = words(fields["caption"], "caption", where.replace("entry", "annotation"))
            captions.setdefault(fields["image_id"], []).append(said)
        except DataError as error:
            yield error
    for entry, place in entries(whole["images"], path):
        where = place.replace("entry", "image")
        try:
            fields = fields_of(entry, ("id", "file_name"), where)
            name = words(fields["file_name"], "file_name", where)
        except DataError as error:
            yield error
            continue
        if fields["id"] in captions:  # test sets list pictures without any
            yield Captioned(places.uri(name), tuple(captions[fields["id"]]), where)


def read_table(path: Path, places: Places) -> Iterator[Captioned | InputError]:
    """A line for each medium or each caption of it; columns are separated by commas, semicolons or tabs.

    Raises:
        DataError: the file cannot be read, or has no such columns.
    """
    found: dict[str, list[str]] = {}
    places_of: dict[str, str] = {}
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            header = file.readline()
            delimiter = max("\t;,", key=header.count)
            names = next(csv.reader([header], delimiter=delimiter), [])
            place, said = _columns([name.strip().lower() for name in names], path)
            lines = csv.reader(file, delimiter=delimiter)
            for cells in lines:
                where = f"{shown(path)}:{lines.line_num + 1}"
                captions = [cells[i].strip() for i in said if i < len(cells) and cells[i].strip()]
                if not cells:
                    continue
                if place >= len(cells) or not cells[place].strip() or not captions:
                    yield DataError(f"{where}: no file or no caption", hint="Fill in both columns.")
                    continue
                found.setdefault(cells[place].strip(), []).extend(captions)
                places_of.setdefault(cells[place].strip(), where)
    except OSError as error:
        raise DataError(f"cannot read {shown(path)}: {error.strerror}", hint="Give a table.") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(
            f"{shown(path)}: no readable table: {error}", hint="Save it as CSV in UTF-8."
        ) from error
    for name, captions in found.items():
        yield Captioned(places.uri(name), tuple(dict.fromkeys(captions)), places_of[name])


def _columns(names: list[str], path: Path) -> tuple[int, list[int]]:
    """The column of the file and those of captions."""
    place = next((names.index(name) for name in FILES if name in names), None)
    said = [index for index, name in enumerate(names) if _CAPTION.fullmatch(name)]
    if place is None or not said:
        raise DataError(
            f"{shown(path)}: the columns {', '.join(names) or '(none)'} name no file or no caption",
            hint=f"Call one of {', '.join(FILES)}, and one caption.",
        )
    return place, said
