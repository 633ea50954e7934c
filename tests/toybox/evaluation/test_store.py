from __future__ import annotations

from pathlib import Path

import pytest

from modaverse.errors import DataError, StorageError
from modaverse.toybox.evaluation.row import Outcome
from modaverse.toybox.evaluation.store import Outcomes

CAT = Outcome("0001", {"thing": True}, {"near": [0.5]}, {"text": "a cat, “so”"})
DOG = Outcome("0002", {"thing": False})


def test_what_was_kept_is_found_again(tmp_path: Path) -> None:
    first = Outcomes(tmp_path / "run")
    first.append("row", ["a", "b"], [CAT, DOG], 3.0)
    again = Outcomes(tmp_path / "run")
    assert again.find("a") == CAT
    assert again.find("b") == DOG
    assert again.find("c") is None
    assert again.seconds("a") == 1.5


def test_a_line_that_was_cut_off_is_dropped_and_the_file_goes_on(tmp_path: Path) -> None:
    first = Outcomes(tmp_path)
    first.append("row", ["a"], [CAT], 1.0)
    whole = first.path.read_bytes()
    first.append("row", ["b"], [DOG], 1.0)
    line = first.path.read_bytes()[len(whole) :]
    for cut in range(1, len(line)):
        first.path.write_bytes(whole + line[:cut])
        again = Outcomes(tmp_path)
        assert again.find("a") == CAT
        assert again.find("b") is None
        again.append("row", ["c"], [DOG], 1.0)
        assert Outcomes(tmp_path).find("c") == DOG


def test_a_file_of_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "outcomes.jsonl").write_text('{"row": "x"}\n')
    with pytest.raises(DataError, match=r"outcomes\.jsonl:1"):
        Outcomes(tmp_path)


def test_a_folder_that_cannot_be_one_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="file"):
        Outcomes(tmp_path / "file" / "run")
