"""Other formats become rows; what cannot is named by its place, and hides nothing else."""

from __future__ import annotations

import io
import json
import os
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from modaverse.data.captions import Captioned
from modaverse.data.entries import Places
from modaverse.data.formats import CAPTIONS, ROWS, format_of, read_captions, write_rows
from modaverse.data.tars import read_tar
from modaverse.errors import DataError, InputError
from modaverse.media import MediaLimits
from modaverse.training.rows import CallPart, MediaPart, Row, TextPart, from_json


def write(path: Path, value: Any) -> Path:
    path.write_text(value if isinstance(value, str) else json.dumps(value), encoding="utf-8")
    return path


def shape(row: Row) -> list[list[object]]:
    """Parts of each turn as short values."""

    def short(part: object) -> object:
        match part:
            case TextPart(text=text):
                return text
            case MediaPart(uri=uri):
                return {"uri": uri}
            case CallPart(model=model, input=prompt):
                return (model, prompt)

    return [[short(part) for part in turn.parts] for turn in row.turns]


def released(instruction: Any = "Do it", answer: Any = None, **media: str) -> dict[str, Any]:
    answer = answer or {"modality": "image", "prompt": "a cat"}
    media = {"image": "none", "audio": "none", "video": "none"} | media
    return {"instruction": instruction, "media": media, "meta_response": answer}


def test_the_released_instructions(tmp_path: Path) -> None:
    path = write(
        tmp_path / "instructions.json",
        [
            released(),
            released("What is it?", {"modality": "[TEXT]", "prompt": "A dog."}, image="x/dog.jpg"),
            released("Go", {"modality": "Video", "prompt": " waves "}, audio="a.wav", video="b.mp4"),
            released("Go", {"modality": "audio", "prompt": "rain"}),
        ],
    )
    assert format_of(path) == "modaverse"
    rows = list(ROWS["modaverse"](path, Places(tmp_path / "media", tmp_path / "out")))
    assert [shape(row) for row in rows if isinstance(row, Row)] == [
        [["Do it"], [("T-to-I", "a cat")]],
        [[{"uri": "../media/x/dog.jpg"}, "What is it?"], ["A dog."]],
        [[{"uri": "../media/a.wav"}, {"uri": "../media/b.mp4"}, "Go"], [("T-to-V", "waves")]],
        [["Go"], [("T-to-A", "rain")]],
    ]


def chat(*turns: tuple[str, str], **media: Any) -> dict[str, Any]:
    return {"id": "1", **media, "conversations": [{"from": who, "value": text} for who, text in turns]}


def test_conversations_of_llava(tmp_path: Path) -> None:
    path = write(
        tmp_path / "chats.json",
        [
            chat(
                ("human", "<image>\nWhat?"),
                ("gpt", "A cat."),
                ("human", "Sure?"),
                ("gpt", "Yes."),
                image="1.jpg",
            ),
            chat(("human", "One <image> two <image>"), ("gpt", "Ok."), image=["1.jpg", "2.jpg"]),
            chat(("human", "What is heard?"), ("gpt", "Rain."), audio="r.wav"),
            chat(("human", "Hello"), ("gpt", "Hi, <image> is a word.")),
        ],
    )
    assert format_of(path) == "llava"
    rows = list(ROWS["llava"](path, Places(tmp_path, tmp_path)))
    assert [shape(row) for row in rows if isinstance(row, Row)] == [
        [[{"uri": "1.jpg"}, "What?"], ["A cat."], ["Sure?"], ["Yes."]],
        [["One", {"uri": "1.jpg"}, "two", {"uri": "2.jpg"}], ["Ok."]],
        [[{"uri": "r.wav"}, "What is heard?"], ["Rain."]],
        [["Hello"], ["Hi, <image> is a word."]],
    ]


WRONG: list[tuple[str, Any, str]] = [
    ("modaverse", 7, "entry 1 is a number, not an object"),
    ("modaverse", {"instruction": "x"}, "entry 1 lacks meta_response"),
    ("modaverse", released(""), 'entry 1: instruction is ""'),
    ("modaverse", released(smell="a"), "entry 1: media has unknown smell"),
    ("modaverse", released(image=3), "entry 1: media.image is 3"),  # type: ignore[arg-type]
    ("modaverse", released(answer={"modality": "smell", "prompt": "x"}), "modality is 'smell'"),
    ("modaverse", released(answer={"modality": "image", "prompt": None}), "prompt is null"),
    ("llava", chat(), "conversations is no list of turns"),
    ("llava", chat(("gpt", "Hi")), "conversations[0] is out of turn"),
    ("llava", chat(("human", "Hi")), "the last turn has no answer"),
    ("llava", chat(("system", "Hi")), "conversations[0]: from is 'system'"),
    ("llava", chat(("human", "<video>"), ("gpt", "x")), "conversations[0]: no file for <video>"),
]


@pytest.mark.parametrize(("format", "entry", "message"), WRONG, ids=[message for _, _, message in WRONG])
def test_wrong_entries_are_named(tmp_path: Path, format: str, entry: Any, message: str) -> None:
    good = released() if format == "modaverse" else chat(("human", "Hi"), ("gpt", "Hi"))
    path = write(tmp_path / "data.json", [entry, good])
    fault, row = ROWS[format](path, Places(tmp_path, tmp_path))
    assert isinstance(row, Row)
    assert isinstance(fault, InputError)
    assert message in fault.message
    assert fault.hint


def captioned(format: str, path: Path) -> list[tuple[object, ...]]:
    places = Places(path.parent, path.parent)
    return [(c.uri, c.captions) for c in CAPTIONS[format](path, places) if isinstance(c, Captioned)]


def test_captions_of_coco(tmp_path: Path) -> None:
    annotations = [{"image_id": 7, "caption": "A cat."}, {"image_id": 7, "caption": "Cat"}, {"image_id": 9}]
    images = [{"id": 7, "file_name": "7.jpg"}, {"id": 8, "file_name": "8.jpg"}]
    path = write(tmp_path / "captions.json", {"images": images, "annotations": annotations})
    assert format_of(path) == "coco"
    assert captioned("coco", path) == [("7.jpg", ("A cat.", "Cat"))]
    faults = [
        item for item in CAPTIONS["coco"](path, Places(tmp_path, tmp_path)) if isinstance(item, InputError)
    ]
    assert [fault.message.split(": ", 1)[1] for fault in faults] == ["annotation 3 lacks caption"]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (
            "file,caption\na.png,A cat\na.png,Cat\nb.png,Dog\n",
            [("a.png", ("A cat", "Cat")), ("b.png", ("Dog",))],
        ),
        ("title\tfilepath\nA, b\tx.jpg\n", [("x.jpg", ("A, b",))]),
        ("file_name,caption_1,caption_2\nr.wav,Rain,Rain falls\n", [("r.wav", ("Rain", "Rain falls"))]),
        ('\ufefffile;Caption\na.png;"A;\ncat"\n', [("a.png", ("A;\ncat",))]),
    ],
)
def test_tables(tmp_path: Path, text: str, found: list[Any]) -> None:
    path = write(tmp_path / "list.csv", text)
    assert format_of(path) == "csv"
    assert captioned("csv", path) == found


def test_wrong_lines_of_tables_are_named(tmp_path: Path) -> None:
    path = write(tmp_path / "list.csv", "file,caption\na.png,\n,cat\nb.png\nc.png,Dog\n")
    items = list(CAPTIONS["csv"](path, Places(tmp_path, tmp_path)))
    assert [item.message.split(": ")[0][-1] for item in items if isinstance(item, InputError)] == [
        "2",
        "3",
        "4",
    ]
    with pytest.raises(DataError, match="the columns a, b name no file or no caption"):
        list(CAPTIONS["csv"](write(path, "a,b\n1,2\n"), Places(tmp_path, tmp_path)))


# ------------------------------------------------------------------------------------------- tars


def tar(path: Path, members: list[tuple[str | tarfile.TarInfo, bytes]], mode: str = "w") -> Path:
    with tarfile.open(path, mode) as archive:
        for name, data in members:
            info = tarfile.TarInfo(name) if isinstance(name, str) else name
            info.size = len(data) if info.isreg() else 0
            archive.addfile(info, io.BytesIO(data))
    return path


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:xz"])
def test_samples_of_tars(tmp_path: Path, media: Path, mode: str) -> None:
    red, tone = (media / name for name in ("red.png", "tone.wav"))
    members = [
        ("a/1.png", red.read_bytes()),
        ("a/1.txt", b"A red square.\n"),
        ("a/1.cls", b"3"),
        ("a/2.json", b'{"caption": "A tone", "url": "x"}'),
        ("a/2.wav", tone.read_bytes()),
    ]
    path = tar(tmp_path / "shard-000.tar", members, mode)
    assert format_of(path) == "webdataset"
    found = captioned("webdataset", path)
    assert [captions for _, captions in found] == [("A red square.",), ("A tone",)]
    assert [(tmp_path / str(uri)).read_bytes() for uri, _ in found] == [red.read_bytes(), tone.read_bytes()]


def link(name: str, target: str) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = tarfile.SYMTYPE, target
    return info


def test_what_members_are_called_moves_nothing(tmp_path: Path, media: Path) -> None:
    picture = (media / "red.png").read_bytes()
    folder = tmp_path / "in" / "deep"
    folder.mkdir(parents=True)
    members: list[tuple[str | tarfile.TarInfo, bytes]] = []
    for name in ("../../evil", "/tmp/modaverse-evil", "a/../../evil", "x" * 300, "nul\\..\\evil", "ü\n"):
        members += [(f"{name}.png", picture), (f"{name}.txt", b"red")]
    members += [(link("l.png", "/etc/passwd"), b""), ("l.txt", b"secret")]
    path = tar(folder / "s.tar", members)
    out = folder / "out"
    items = list(read_tar(path, Places(folder, out)))
    uris = {item.uri for item in items if isinstance(item, Captioned)}
    assert len(uris) == 1  # one content, one file
    assert sorted(p.relative_to(tmp_path).parts[0] for p in tmp_path.iterdir()) == ["in"]
    assert [p.name for p in out.rglob("*") if p.is_file()] == [os.path.basename(uris.pop())]
    assert not Path("/tmp/modaverse-evil.png").exists()
    assert [item.message.split(": ")[-1] for item in items if isinstance(item, InputError)] == [
        "0 media and 1 captions"
    ]


def test_bad_samples_are_named_and_the_others_read(tmp_path: Path, media: Path) -> None:
    picture = (media / "red.png").read_bytes()
    members: list[tuple[str | tarfile.TarInfo, bytes]] = [
        ("1.png", picture),
        ("1.txt", b"red"),
        ("2.png", picture[:40]),
        ("2.txt", b"cut"),
        ("3.png", picture),
        ("4.png", picture + b"0" * 2000),
        ("4.txt", b"big"),
        ("5.png", picture),
        ("5.json", b'{"caption": '),
        ("6.png", picture),
        ("6.txt", b"last"),
    ]
    path = tar(tmp_path / "s.tar", members)
    items = list(read_tar(path, Places(tmp_path, tmp_path), MediaLimits(max_bytes=2000)))
    assert [item.captions for item in items if isinstance(item, Captioned)] == [("red",), ("last",)]
    faults = [item.message.removeprefix(f"{path}: ") for item in items if isinstance(item, InputError)]
    assert [fault.split(":")[0] for fault in faults] == ["2.png", "2", "3", "4.png", "4", "5.json", "5"]
    assert "truncated or damaged" in faults[0]
    assert "exceed the limit of 2,000" in faults[3]


@pytest.mark.parametrize(("mode", "kept"), [("w", 9000), ("w", 5000), ("w:gz", 300)])
def test_a_tar_that_is_cut_off_is_named_after_what_came_before(
    tmp_path: Path, media: Path, mode: str, kept: int
) -> None:
    noise = np.random.default_rng(0).bytes(5000)
    red = (media / "red.png").read_bytes()
    members = [("0.png", red), ("0.txt", b"x"), ("1.txt", b"x"), ("1.png", noise), ("2.txt", b"x")]
    path = tar(tmp_path / "s.tar", list(members), mode)
    path.write_bytes(path.read_bytes()[:kept])
    found = read_tar(path, Places(tmp_path, tmp_path))
    assert isinstance(next(found), Captioned)
    with pytest.raises(DataError, match="no tar that can be read to its end"):
        list(found)


# ---------------------------------------------------------------------------------------- writing


def test_nothing_is_written_with_faults_unless_they_are_skipped(tmp_path: Path) -> None:
    row = from_json(
        '{"turns": [{"role": "user", "parts": [{"type": "text", "text": "Hi"}]},'
        ' {"role": "assistant", "parts": [{"type": "text", "text": "Hi"}]}]}'
    )
    out = tmp_path / "rows.jsonl"

    def items() -> Iterator[Row | InputError]:
        yield from (row, DataError("entry 2"), row, DataError("entry 4"))

    written = write_rows(out, items(), skip_wrong=False)
    assert (written.rows, len(written.faults)) == (0, 2)
    assert list(tmp_path.iterdir()) == []
    assert write_rows(out, items(), skip_wrong=True).rows == 2
    assert [path.name for path in tmp_path.iterdir()] == ["rows.jsonl"]


@pytest.mark.parametrize("content", ["[]", "{}", "no json", '[{"x": 1}]'])
def test_a_file_of_no_known_format_is_refused(tmp_path: Path, content: str) -> None:
    with pytest.raises(DataError, match=r"of no known format|no JSON"):
        list(read_captions([write(tmp_path / "x.json", content)], lambda file: Places(tmp_path, tmp_path)))


def test_rows_are_no_format_that_is_converted(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"rows\.jsonl: no JSON") as caught:
        format_of(write(tmp_path / "rows.jsonl", '{"turns": []}\n{"turns": []}\n'))
    assert "used as they are" in caught.value.hint
