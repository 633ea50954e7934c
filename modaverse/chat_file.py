"""A chat on disk.

chat.json   the turns, and the transcript token by token, so that it goes on exactly as it would have
media/      copies of all media, named by their content
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from modaverse.context import Context, GenerationFailed, Media, MetaResponse, Part, Role, Text, Turn
from modaverse.errors import InputError, MediaError
from modaverse.media import MediaLimits, read_media, write_bytes
from modaverse.reply import describe_part

FORMAT = 1


def write_chat(folder: Path, profile: str, context: Context, record: dict[str, Any]) -> None:
    """Write a chat.

    Raises:
        StorageError: the folder cannot be written.
        MediaError: a medium is no longer where it was.
    """
    turns = [
        {"role": str(turn.role), "parts": [describe_part(part, folder) for part in turn.parts]}
        for turn in context.turns
    ]
    chat = {"format": FORMAT, "profile": profile, "turns": turns, "transcript": record}
    write_bytes((json.dumps(chat, ensure_ascii=False) + "\n").encode(), folder / "chat.json")


def read_chat(folder: Path, profile: str, limits: MediaLimits) -> tuple[Context, dict[str, Any]]:
    """The conversation and the transcript's record.

    Raises:
        InputError: there is no chat, or it was held with another profile: its tokens would mean others.
        MediaError: a medium is missing or was changed.
    """
    path = folder / "chat.json"
    try:
        chat = json.loads(path.read_text(encoding="utf-8"))
        if chat["format"] != FORMAT:
            raise ValueError(f"format {chat['format']!r}")
        if chat["profile"] != profile:
            raise InputError(
                f"The chat in {folder} was held with the profile {chat['profile']!r}, not {profile!r}",
                hint="Load it with the profile that it was held with.",
            )
        turns = tuple(
            Turn(Role(turn["role"]), tuple(_part(part, folder, limits) for part in turn["parts"]))
            for turn in chat["turns"]
        )
        return Context(turns), dict(chat["transcript"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise InputError(
            f"{path} is no chat that can be read: {error}", hint="Give the folder that Chat.save wrote."
        ) from error


def _part(value: dict[str, Any], folder: Path, limits: MediaLimits) -> Part:
    match value["type"]:
        case "text":
            return Text(str(value["text"]))
        case "meta_response":
            return MetaResponse(value["model"], value["input"], value["options"], value["source"])
        case "media":
            return _medium(value, folder, limits)
        case "failed":
            return GenerationFailed(value["call"], value["cause"], value["hint"])
        case other:
            raise ValueError(f"a part of the type {other!r}")


def _medium(value: dict[str, Any], folder: Path, limits: MediaLimits) -> Media:
    path = (folder / value["path"]).resolve()
    if not path.is_relative_to(folder.resolve()):
        raise MediaError(f"{value['path']} leads out of {folder}", hint="The chat was tampered with.")
    medium = read_media(path, limits=limits)
    if medium.sha256 != value["sha256"]:
        raise MediaError(f"{path} is not the file that the chat was held about", hint="Restore the folder.")
    return medium
