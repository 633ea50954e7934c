"""What a row may name as a medium, and what it may not reach."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from modaverse.batch.fetch import Fetcher
from modaverse.batch.references import References
from modaverse.batch.values import MediaRef
from modaverse.context import Media
from modaverse.errors import InputError, MediaError
from modaverse.media import MediaLimits, read_media

Make = Callable[..., References]


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    """The folder of the rows, with a picture in it, and one beside it."""
    folder = tmp_path / "rows"
    (folder / "media").mkdir(parents=True)
    return folder


@pytest.fixture
def references(rows: Path) -> Make:
    def make(root: Path | None = None, hosts: tuple[str, ...] = (), **limits: int) -> References:
        bounds = MediaLimits(**limits)
        fetcher = Fetcher(hosts, max_bytes=bounds.max_bytes)
        kept = rows.parent / "kept"
        return References(rows, kept, root=root, limits=bounds, fetcher=fetcher, read=read_media)

    return make


def both(references: References, uri: str) -> Media:
    references.check(MediaRef(uri))
    return references.open(MediaRef(uri))


def test_paths_count_from_the_rows(references: Make, rows: Path, png: bytes) -> None:
    path = rows / "media" / "a b:c.png"
    path.write_bytes(png)
    for uri in (
        "media/a b:c.png",
        str(path),
        f"file://{path}".replace(" ", "%20"),
        "media/../media/a b:c.png",
    ):
        assert both(references(), uri).path == path


def test_what_is_no_file_is_kept_as_one(references: Make, rows: Path, png: bytes, pixel: str) -> None:
    kept = both(references(), pixel)
    assert kept.path.parent == rows.parent / "kept"
    assert kept.path.read_bytes() == png
    quoted = "data:image/bmp,BM" + "".join(f"%{byte:02x}" for byte in b"\0" * 40)
    with pytest.raises(MediaError, match=r"^data:image/bmp,BM.*…: this"):
        both(references(), quoted)
    made = both(references(), "toybox:image?thing=cat&colour=red&size=small&backdrop=day&seed=1")
    assert made.path.parent == rows.parent / "kept"


def test_nothing_outside_of_the_root_is_opened(references: Make, rows: Path, png: bytes) -> None:
    outside = rows.parent / "outside.png"
    outside.write_bytes(png)
    (rows / "link.png").symlink_to(outside)
    (rows / "folder").symlink_to(rows.parent)
    (rows / "media" / "in.png").write_bytes(png)
    (rows / "inside.png").symlink_to(rows / "media" / "in.png")
    for uri in (
        "../outside.png",
        str(outside),
        f"file://{outside}",
        "file:///rows/%2e%2e/outside.png",
        "link.png",
        "folder/outside.png",
        "media/../../outside.png",
        "/etc/passwd",
        "/proc/self/environ",
    ):
        for method in (references().check, references().open):
            with pytest.raises(MediaError, match=r"lies outside of|no such file"):
                method(MediaRef(uri))
    assert both(references(), "inside.png").path == rows / "media" / "in.png"
    assert both(references(root=rows.parent), "../outside.png").path == outside


WRONG = [
    ("none.png", "no such file"),
    ("", "no regular file"),
    (".", "no regular file"),
    ("pipe", "no regular file"),
    ("a\0b", "cannot be opened"),
    ("x" * 5000, "cannot be opened"),
    ("loop/a.png", "cannot be opened|no such file"),
    ("data:image/png;base64,!!!!", "no base64"),
    ("data:image/png;base64,AAA", "no base64"),
    ("data:image/png;base64", "no data URI"),
    ("data:,", "the file is empty"),
    ("data:text/plain,hello", "this is a text file"),
    ("ftp://example.org/a.png", "not fetched from ftp"),
    ("https://example.org/a.png", "not fetched from example.org"),
    ("https://", "no URL"),
    ("http://[::1", "no URL"),
    ("http://user@example.org:99999/", "no URL"),
    ("toybox:picture?thing=cat", "toybox"),
]


@pytest.mark.parametrize(("uri", "message"), WRONG, ids=[uri[:30] for uri, _ in WRONG])
def test_what_cannot_be_used_is_an_error_with_a_hint(
    references: Make, rows: Path, uri: str, message: str
) -> None:
    os.mkfifo(rows / "pipe")
    (rows / "loop").symlink_to(rows / "loop")
    with pytest.raises(InputError, match=message) as caught:
        both(references(), uri)
    assert caught.value.hint
    assert caught.value.message.isprintable()


def test_what_a_row_holds_itself_is_bounded_before_it_is_decoded(references: Make, pixel: str) -> None:
    with pytest.raises(MediaError, match="it has more than") as caught:
        references(max_bytes=10).check(MediaRef(pixel))
    assert "max_bytes" in caught.value.hint
