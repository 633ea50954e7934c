"""Finding a card's weights on disk, and refusing what must not be loaded.

A checkpoint is somebody else's data. Nothing in it may run: the folder is looked through before diffusers
opens it, and is refused if it holds pickled weights in place of safetensors, Python files, a configuration
that names code (`auto_map`, custom components, kernels to fetch) or another model, or a path that leads out
of the folder.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from modaverse.errors import CheckpointError, ModelNotFound

from .card import Card

_LIBRARIES = {"diffusers", "transformers"}
_PICKLED = {".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".msgpack", ".h5"}
_SETTINGS = ["*.json", "*.txt", "*.model", "*.jinja"]
_KERNELS = ("attn_implementation", "attn_implementation_internal", "experts_implementation")
_NAME = re.compile(r"\w+")


def locate(card: Card, root: Path | None, *, download: bool = False) -> Path:
    """The folder that holds the card's weights: below `root` for a relative path, in the hub's cache else.

    With `download`, a hub repository that is not in the cache is fetched (unless HF_HUB_OFFLINE is set).

    Raises:
        ModelNotFound: nothing lies there; the hint says how to get it.
    """
    weights = card.weights
    if weights.path is not None:
        folder = (root or Path()) / weights.path
        if not (folder / "model_index.json").is_file():
            raise ModelNotFound(
                f"generator {card.name}: no weights in {folder}",
                hint="The profile's folder is incomplete; install it again or train this part.",
            )
        return folder
    return _from_hub(card, weights.repository or "", download)


def _from_hub(card: Card, repository: str, download: bool) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled

    weights = card.weights
    try:
        found = snapshot_download(
            repository,
            revision=weights.revision,
            allow_patterns=wanted_files(weights.variant),
            local_files_only=not download,
        )
    except (LocalEntryNotFoundError, OfflineModeIsEnabled, HfHubHTTPError, OSError) as error:
        raise ModelNotFound(
            f"generator {card.name}: {repository} at {weights.revision} is not on this machine",
            hint=f"Run: hf download {repository} --revision {weights.revision} {_included(weights.variant)} "
            f"({weights.size_gb:g} GB, licence {card.licence.name}).",
        ) from error
    return Path(found)


def _included(variant: str | None) -> str:
    """What is loaded, as options of that command; a repository may hold several times as much."""
    return " ".join(f"--include '{pattern}'" for pattern in wanted_files(variant))


def wanted_files(variant: str | None) -> list[str]:
    """Patterns of a repository's files that are loaded: settings, and weights of components.

    Repositories often hold the same weights again, as one file at the top and in other precisions.
    """
    weights = f"*/*.{variant}*.safetensors" if variant else "*/*.safetensors"
    return [*_SETTINGS, weights]


def check_safe(folder: Path) -> None:
    """Refuse a saved pipeline that holds anything but data.

    Raises:
        CheckpointError: it names code, holds code or pickles, or leads out of its folder.
    """
    for path in _files(folder):
        if path.suffix == ".py":
            raise _refused(folder, path, "is Python code")
        if path.suffix == ".json":
            _check_json(folder, path)
    _check_index(folder, folder / "model_index.json")
    for path in folder.glob("*/**/model_index.json"):  # a component may be a pipeline itself
        _check_index(folder, path)


def check_whole(folder: Path) -> None:
    """See that every part that a saved pipeline names is there, as far as can be told without loading it.

    Raises:
        CheckpointError: a component, or a shard of its weights, is missing.
    """
    for name, entry in _read_json(folder, folder / "model_index.json").items():
        named = not name.startswith("_") and isinstance(entry, list) and any(entry)
        if named and not any((folder / name).glob("*")):
            raise _incomplete(folder, name)
    for path in folder.glob("*/*.safetensors.index.json"):
        shards = _read_json(folder, path).get("weight_map")
        for shard in sorted(set(shards.values())) if isinstance(shards, dict) else ():
            if not (path.parent / shard).is_file():
                raise _incomplete(folder, f"{path.parent.name}/{shard}")


def _incomplete(folder: Path, name: str) -> CheckpointError:
    return CheckpointError(f"{folder}: {name} is missing", hint="Fetch the files again.")


def _check_index(folder: Path, path: Path) -> None:
    index = _read_json(folder, path)
    if not isinstance(index.get("_class_name"), str):
        raise _refused(folder, path, "names no pipeline class of diffusers")
    for name, entry in index.items():
        if not name.startswith("_") and isinstance(entry, list):
            _check_component(folder, path, name, entry)


def _check_component(folder: Path, index: Path, name: str, entry: list[Any]) -> None:
    """A component is [library, class]; both null where an optional one is left out."""
    if len(entry) != 2 or not _NAME.fullmatch(name):
        raise _refused(folder, index, f"has a component that is none: {name!r}")
    library, kind = entry
    if library is None and kind is None:
        return
    if library not in _LIBRARIES and not _is_pipeline_module(library):
        raise _refused(folder, index, f"takes {name} from {library!r}, which is no library of pipelines")
    if not isinstance(kind, str) or not _NAME.fullmatch(kind):
        raise _refused(folder, index, f"names a class that is none: {kind!r}")
    files = [path for path in _files(folder) if path.is_relative_to(index.parent / name)]
    pickled = [path for path in files if path.suffix in _PICKLED]
    if pickled and not any(path.suffix == ".safetensors" for path in files):
        raise _refused(folder, pickled[0], "is a pickle, and there is no safetensors file beside it")


def _is_pipeline_module(library: Any) -> bool:
    """Whether `library` is a module of diffusers' own pipelines, such as "stable_audio"."""
    import diffusers.pipelines

    return (
        isinstance(library, str)
        and _NAME.fullmatch(library) is not None
        and isinstance(getattr(diffusers.pipelines, library, None), ModuleType)
    )


def _check_json(folder: Path, path: Path) -> None:
    content = _read_json(folder, path)
    for table in _tables(content):
        # In a vocabulary any word can be a key; its value is then a number.
        given = {key: value for key, value in table.items() if not isinstance(value, int | float)}
        if "auto_map" in given:
            raise _refused(folder, path, "names code to import (auto_map)")
        if "custom_pipelines" in given or "_custom_pipeline" in given:
            raise _refused(folder, path, "names a custom pipeline")
        kernels = [value for key, value in given.items() if key.endswith(_KERNELS)]
        if any("/" in str(value) for value in kernels):
            raise _refused(folder, path, "names a kernel to fetch")
    if path.name == "adapter_config.json" and "base_model_name_or_path" in content:
        raise _refused(folder, path, "names another model to load")
    shards = content.get("weight_map")
    for shard in sorted(set(shards.values())) if isinstance(shards, dict) else ():
        if not isinstance(shard, str) or Path(shard).name != shard:
            raise _refused(folder, path, f"names a shard outside of its folder: {shard!r}")


def _tables(content: Any) -> Iterator[dict[str, Any]]:
    """Every object within a JSON value, however deep."""
    open_ones = [content]
    while open_ones:
        value = open_ones.pop()
        if isinstance(value, dict):
            yield value
        inner = value.values() if isinstance(value, dict) else value
        open_ones += [part for part in inner if isinstance(part, dict | list)]


def _read_json(folder: Path, path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise _refused(folder, path, "cannot be read") from error
    return content if isinstance(content, dict) else {}


def _files(folder: Path) -> Iterator[Path]:
    """Every file below `folder`. Links may only lead to the hub cache's own blobs."""
    inside = [folder.resolve()]
    if folder.parent.name == "snapshots":
        inside.append((folder.parent.parent / "blobs").resolve())
    for path in sorted(folder.rglob("*")):
        if path.is_symlink() and not any(path.resolve().is_relative_to(place) for place in inside):
            raise _refused(folder, path, "is a link out of the folder")
        if path.is_file():
            yield path


def _refused(folder: Path, path: Path, why: str) -> CheckpointError:
    name = path.relative_to(folder) if path.is_relative_to(folder) else path
    return CheckpointError(
        f"{folder}: {name} {why}",
        hint="Only safetensors and plain configuration are loaded; use another copy.",
    )


def fingerprint(folder: Path) -> str:
    """What identifies the weights: the commit for a hub snapshot, the hash of all files otherwise."""
    if folder.parent.name == "snapshots":
        return folder.name
    digest = hashlib.sha256()
    for path in _files(folder):
        digest.update(f"{path.relative_to(folder).as_posix()}\0".encode())
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()
