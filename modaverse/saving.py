"""Profiles as folders that can be moved and shared: what was trained, and a profile.toml for the rest."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modaverse.errors import SettingsError, StorageError
from modaverse.media import write_bytes
from modaverse.settings import Profile, load_profile, profile_names

if TYPE_CHECKING:
    from huggingface_hub import HfApi

LEFT_OUT = ("checkpoints", "tensorboard", "*.part", "profile.toml", ".*")
"""What lies beside a trained adapter and is no part of it."""


def save_profile(profile: Profile, folder: Path) -> None:
    """Copy the profile's adapter to `folder` and make that a profile; the LLM and the other models stay where
    they are, unless they lie in the adapter's own folder.

    Raises:
        SettingsError: the folder is the adapter's own.
        StorageError: it cannot be written.
    """
    adapter, folder = profile.llm.adapter, folder.resolve()
    if adapter is not None:
        if adapter.resolve() == folder:
            raise SettingsError(f"{folder} is where the adapter lies", hint="Save it to another folder.")
        try:
            shutil.copytree(
                adapter, folder, ignore=shutil.ignore_patterns(*LEFT_OUT), dirs_exist_ok=True, symlinks=False
            )
        except (OSError, shutil.Error) as error:
            raise StorageError(
                f"{folder} cannot be written: {error}", hint="Free some space or choose another folder."
            ) from error
        path = profile.llm.path
        moved: dict[str, Path] = {"adapter": folder}
        if path is not None and path.resolve().is_relative_to(adapter.resolve()):
            moved["path"] = folder / path.resolve().relative_to(adapter.resolve())
        profile = profile.model_copy(update={"llm": profile.llm.model_copy(update=moved)})
    write_profile(profile, folder)


def push_profile(
    profile: Profile, repository: str, *, private: bool = False, api: HfApi | None = None
) -> str:
    """Upload the profile to a repository on the hub (owner/name), made if there is none; its address.

    Raises:
        SettingsError: the profile needs files that lie only on this machine.
        StorageError: the hub does not take it.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    api = api or HfApi()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        save_profile(profile, folder)
        _check_portable(folder)
        try:
            api.create_repo(repository, private=private, exist_ok=True)
            uploaded = api.upload_folder(
                repo_id=repository, folder_path=folder, commit_message=f"Upload {profile.name}"
            )
        except (HfHubHTTPError, HFValidationError, OSError) as error:
            raise StorageError(
                f"{repository} was not uploaded: {str(error).strip().splitlines()[0]}",
                hint="Check the name and the login: hf auth whoami.",
            ) from error
    return str(uploaded.repo_url)


def write_profile(profile: Profile, folder: Path) -> None:
    """Write the profile as `folder`/profile.toml: what it shares with one that ships is taken from there, and
    paths within the folder are relative to it.

    Raises:
        StorageError: the folder cannot be written.
    """
    values = _plain(profile)
    base = next((name for name in profile_names() if _extends(_plain(load_profile(name)), values)), None)
    if base is not None:
        values = {"extends": base, **_changes(_plain(load_profile(base)), values)}
    text = "\n".join(_toml(_relative(values, folder.resolve()))) + "\n"
    write_bytes(text.encode(), folder / "profile.toml")


def _plain(profile: Profile) -> dict[str, Any]:
    return profile.model_dump(mode="json")


def _extends(base: Mapping[str, Any], values: Mapping[str, Any]) -> bool:
    """Whether `values` can be told as changes of `base`: its encoder and generators are the same, and nothing
    has to be taken away.
    """
    lost = [key for key, value in base["llm"].items() if value is not None and values["llm"][key] is None]
    same = all(base[table] == values[table] for table in ("encoder", "generators"))
    # Of path and repository the one that is given counts; a revision says nothing of a path.
    return same and not set(lost) - {"path", "repository", "revision"}


def _changes(base: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    changed: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, dict) and isinstance(base.get(key), dict):
            if inner := _changes(base[key], value):
                changed[key] = inner
        elif key not in base or base[key] != value:
            changed[key] = value
    return changed


def _relative(value: Any, folder: Path) -> Any:
    if isinstance(value, dict):
        return {key: _relative(inner, folder) for key, inner in value.items()}
    if isinstance(value, str) and Path(value).is_absolute() and Path(value).resolve().is_relative_to(folder):
        return str(Path(value).resolve().relative_to(folder))
    return value


def _toml(table: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """The lines of a table and of the tables in it. TOML writes strings, numbers and lists as JSON does."""
    inner = {key: value for key, value in table.items() if isinstance(value, dict)}
    for key, value in table.items():
        if key not in inner and value is not None:
            yield f"{_key(key)} = {json.dumps(value, ensure_ascii=False)}"
    for key, value in inner.items():
        lines = list(_toml(value, f"{prefix}{_key(key)}."))
        if lines:
            yield from ("", f"[{prefix}{_key(key)}]", *lines)


def _key(name: str) -> str:
    return name if name.replace("_", "").replace("-", "").isalnum() and name.isascii() else json.dumps(name)


def _check_portable(folder: Path) -> None:
    """Raises:
    SettingsError: the profile names a file outside of its folder that does not ship with ModaVerse.
    """
    import tomllib

    values = tomllib.loads((folder / "profile.toml").read_text(encoding="utf-8"))
    for table, fields in values.items():
        for key, value in fields.items() if isinstance(fields, dict) else ():
            for item in value if isinstance(value, list) else [value]:
                if isinstance(item, str) and Path(item).is_absolute():
                    raise SettingsError(
                        f"{table}.{key} is {item}, which lies on this machine only",
                        hint="Name what lies on a hub (llm.repository), or what ships with ModaVerse.",
                    )
