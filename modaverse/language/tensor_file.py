"""Safetensors files written tensor by tensor, so that no more than a slice of one is in memory.

    8 bytes   length of the header, little-endian
    header    JSON: name → dtype, shape, offsets of its bytes in what follows; padded with spaces to 8 bytes
    data      the tensors, one after the other

(https://huggingface.co/docs/safetensors). The library's own writer wants all of them at once.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import BinaryIO

import torch

_NAMES = {torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16"}
_SLICE_BYTES = 1 << 25


def write_tensors(
    path: Path, tensors: Mapping[str, torch.Tensor], *, dtype: torch.dtype | None = None
) -> None:
    """Write `tensors`, which may be mapped from a file, converted to `dtype` on their way if one is given.
    The file is there whole or not at all.

    Raises:
        OSError: it cannot be written.
    """
    scratch = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        # Over what one that was killed has left: in containers the numbers of processes recur.
        with open(scratch, "wb") as file:
            _write(file, tensors, dtype)
            file.flush()
            os.fsync(file.fileno())
        os.replace(scratch, path)
    finally:
        scratch.unlink(missing_ok=True)


def _write(file: BinaryIO, tensors: Mapping[str, torch.Tensor], dtype: torch.dtype | None) -> None:
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, tensor in tensors.items():
        kind = dtype or tensor.dtype
        begin, end = end, end + tensor.numel() * kind.itemsize
        header[name] = {"dtype": _NAMES[kind], "shape": list(tensor.shape), "data_offsets": [begin, end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    file.write(len(text).to_bytes(8, "little") + text)
    for tensor in tensors.values():
        for rows in _slices(tensor):
            values = rows.to(dtype or tensor.dtype).contiguous()
            file.write(values.reshape(-1).view(torch.uint8).numpy().data)


def _slices(tensor: torch.Tensor) -> Iterator[torch.Tensor]:
    """The tensor along its first axis, some `_SLICE_BYTES` at a time."""
    rows = max(1, _SLICE_BYTES * len(tensor) // max(1, tensor.nbytes))
    for begin in range(0, len(tensor), rows):
        yield tensor[begin : begin + rows]
