"""Files that only grow: whole lines, whatever happened to the process, the disk or the machine."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from modaverse.batch.entries import decode, encode
from modaverse.batch.journal import SYNC_SECONDS, Journal, read_entries
from modaverse.batch.values import Form
from modaverse.errors import DataError, StorageError


def entry(number: int) -> dict[str, object]:
    return {"id": str(number), "line": number, "digest": "d", "text": "ü" * number}


def line(number: int) -> bytes:
    return encode(entry(number), Form.OWN)


def whole(path: Path) -> tuple[list[str], int]:
    entries = list(read_entries(path))
    return [entry["id"] for entry, _ in entries], entries[-1][1] if entries else 0


def test_what_was_written_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    assert whole(path) == ([], 0)
    with Journal(path, 0) as journal:
        journal.append(line(1))
        assert whole(path)[0] == ["1"]  # at once, for whoever looks
        journal.append(line(2))
    assert whole(path) == (["1", "2"], path.stat().st_size)


def test_a_cut_anywhere_costs_the_last_line_alone(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    data = line(1) + line(2)
    for size in range(len(line(1)), len(data)):
        path.write_bytes(data[:size])
        ids, end = whole(path)
        assert (ids, end) == (["1"], len(line(1)))
        with Journal(path, end) as journal:
            journal.append(line(3))
        assert path.read_bytes() == line(1) + line(3)


@pytest.mark.parametrize(
    "rest", [bytes(40), b'{"id": "2"}\n', b"\xff\n", b"[]\n", b"\n", b'{"id": 3, "line": 1']
)
def test_what_a_failing_machine_leaves_at_the_end_is_cut_off(tmp_path: Path, rest: bytes) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(line(1) + rest)
    assert whole(path) == (["1"], len(line(1)))


def test_damage_in_the_middle_is_said_and_not_mended(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(line(1) + b"garbage\n" + line(3))
    with pytest.raises(DataError, match=r"a\.jsonl:2: the line is damaged"):
        whole(path)


def test_a_full_disk_leaves_whole_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.jsonl"
    real = os.write

    def half(descriptor: int, data: bytes) -> int:
        if len(data) > 20:
            return real(descriptor, data[:20])
        raise OSError(28, "No space left on device")

    with Journal(path, 0) as journal:
        journal.append(line(1))
        with monkeypatch.context() as patch:
            patch.setattr(os, "write", half)
            with pytest.raises(StorageError, match="No space left") as caught:
                journal.append(line(2))
        assert "goes on" in caught.value.hint
        assert path.read_bytes() == line(1)
        journal.append(line(3))
    assert whole(path)[0] == ["1", "3"]


def test_it_is_synchronised_now_and_then_and_at_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now, synced = [0.0], []
    monkeypatch.setattr(os, "fsync", lambda descriptor: synced.append(now[0]))
    with Journal(tmp_path / "a.jsonl", 0, clock=lambda: now[0]) as journal:
        for step in range(10):
            now[0] = step * SYNC_SECONDS / 4
            journal.append(line(step))
    assert synced == [SYNC_SECONDS, 2 * SYNC_SECONDS, 9 * SYNC_SECONDS / 4]


def test_every_form_comes_back_as_the_entry_that_it_was() -> None:
    failed = {**entry(1), "kind": "K", "cause": "c\udce9", "hint": "h", "found": "run"}
    usage = {"prompt_tokens": 3, "sampled_tokens": 2, "spliced_tokens": 1}
    answered = {**entry(2), "usage": usage, "finished": 1.5, "profile": "mini", "finish_reason": "stop"}
    for value in (failed, answered):
        for form in Form:
            data = encode(value, form)
            assert data.endswith(b"\n")
            assert data.count(b"\n") == 1
            assert decode(data) == value
