"""Reading weights from a file without ever running what is in it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from modaverse.errors import CheckpointError, ModelNotFound

_HINT = "Get the file again, or name another one (.safetensors, or .pth with nothing but tensors)."


@dataclass(frozen=True, slots=True)
class Weights:
    """An open checkpoint: its keys, a reader for one tensor, and the configuration it may carry."""

    keys: tuple[str, ...]
    tensor: Callable[[str], Tensor]
    config: Mapping[str, Any] | None


@contextmanager
def open_checkpoint(path: Path) -> Iterator[Weights]:
    """Opens a `.safetensors` file, or (any other suffix) a state dict saved by torch.

    Raises:
        ModelNotFound: there is no such file.
        CheckpointError: damaged, or something other than a state dict of tensors.
    """
    if not path.is_file():
        raise ModelNotFound(f"no weights at {path}", hint="Check the path; nothing is downloaded by itself.")
    if path.suffix == ".safetensors":
        with _open_safetensors(path) as weights:
            yield weights
    else:
        yield _read_torch(path)


@contextmanager
def _open_safetensors(path: Path) -> Iterator[Weights]:
    try:
        file = safe_open(path, framework="pt")
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path} cannot be read: {error}", hint=_HINT) from error
    with file as opened:
        written = (opened.metadata() or {}).get("config")
        try:
            config = json.loads(written) if written else None
        except json.JSONDecodeError as error:
            raise CheckpointError(f"{path} carries a damaged configuration: {error}", hint=_HINT) from error
        yield Weights(tuple(opened.keys()), opened.get_tensor, config)


def _read_torch(path: Path) -> Weights:
    try:
        state = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except Exception as error:  # a damaged or unsafe archive raises whatever its reader stumbled over
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise CheckpointError(f"{path} cannot be read: {reason}", hint=_HINT) from error
    if not isinstance(state, Mapping) or not all(isinstance(value, Tensor) for value in state.values()):
        raise CheckpointError(f"{path} is no plain state dict of tensors", hint=_HINT)
    return Weights(tuple(state), state.__getitem__, None)
