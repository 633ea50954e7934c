from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from modaverse.language import tensor_file
from modaverse.language.tensor_file import write_tensors

TENSORS = {
    "a.weight": torch.randn(7, 5),
    "b": torch.randn(3).to(torch.bfloat16),
    "c": torch.randn(4, 6).T,  # not contiguous
    "empty": torch.zeros(0, 3),
}


@pytest.mark.parametrize("slice_bytes", [1, 64, 1 << 20])
def test_the_library_reads_what_was_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, slice_bytes: int
) -> None:
    monkeypatch.setattr(tensor_file, "_SLICE_BYTES", slice_bytes)
    write_tensors(tmp_path / "x.safetensors", TENSORS)
    read = load_file(tmp_path / "x.safetensors")
    assert read.keys() == TENSORS.keys()
    assert all(torch.equal(read[name], value) for name, value in TENSORS.items())
    assert [read[name].dtype for name in TENSORS] == [value.dtype for value in TENSORS.values()]


def test_values_are_converted_on_their_way(tmp_path: Path) -> None:
    write_tensors(tmp_path / "x.safetensors", TENSORS, dtype=torch.float16)
    read = load_file(tmp_path / "x.safetensors")
    assert all(torch.equal(read[name], value.half()) for name, value in TENSORS.items())


def test_a_file_is_whole_or_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tensor_file, "_slices", fail)
    with pytest.raises(OSError, match="No space"):
        write_tensors(tmp_path / "x.safetensors", TENSORS)
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_process_of_the_same_number_left_is_no_hindrance(tmp_path: Path) -> None:
    (tmp_path / f".x.safetensors.{os.getpid()}").write_bytes(b"half of it")
    write_tensors(tmp_path / "x.safetensors", TENSORS)
    assert [path.name for path in tmp_path.iterdir()] == ["x.safetensors"]
