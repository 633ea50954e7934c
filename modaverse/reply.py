"""A whole answer: what `run` gives, and what a stream leaves behind.

`save(folder)` writes

    reply.json    everything, media by path relative to the folder
    reply.html    the same as a page that opens from disk
    media/        copies of all media, named by their content
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from modaverse.context import (
    Choice,
    Done,
    Event,
    FinishReason,
    GenerationFailed,
    Malformed,
    Media,
    MediaReady,
    MetaResponse,
    Part,
    Text,
    TextDelta,
    Usage,
)
from modaverse.errors import InputError, MediaError
from modaverse.media import write_bytes
from modaverse.page import reply_page


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer and the request it was made for.

    `record` has everything that happened, in order: the parts, and in their places what was malformed and
    what failed. `first_number` is the number of the request's first medium in the context. `choices` says how
    media were chosen that were compared with their prompts, by their number. `keeps` is held and nothing
    else: a temporary folder stays while its media are in somebody's reply.
    """

    request: tuple[Text | Media, ...]
    record: tuple[Part | Malformed, ...]
    seed: int
    finish_reason: FinishReason
    usage: Usage
    profile: str = ""
    first_number: int = 1
    choices: Mapping[int, Choice] = field(default_factory=dict)
    keeps: object = field(default=None, repr=False, compare=False)

    @property
    def parts(self) -> list[Part]:
        """Text, calls and what they made, in order."""
        return [part for part in self.record if isinstance(part, Text | MetaResponse | Media)]

    @property
    def text(self) -> str:
        """The text parts joined."""
        return "".join(part.text for part in self.record if isinstance(part, Text))

    @property
    def media(self) -> list[Media]:
        """What was made."""
        return [part for part in self.record if isinstance(part, Media)]

    @property
    def meta_responses(self) -> list[MetaResponse]:
        """The calls, whether they succeeded or not."""
        return [part for part in self.record if isinstance(part, MetaResponse)]

    @property
    def malformed(self) -> list[Malformed]:
        """What began as a call and was none."""
        return [part for part in self.record if isinstance(part, Malformed)]

    @property
    def failures(self) -> list[GenerationFailed]:
        """The calls that made nothing, and why."""
        return [part for part in self.record if isinstance(part, GenerationFailed)]

    def save(self, folder: str | Path) -> Path:
        """Write reply.json, reply.html and media/ into `folder`; the path of the page.

        Raises:
            MediaError: a medium is no longer where it was.
            StorageError: the folder cannot be written.
        """
        folder = Path(folder)
        number = self.first_number
        described: list[list[dict[str, Any]]] = []
        for parts in (self.request, self.record):
            described.append([])
            for part in parts:
                described[-1].append(describe_record(part, number, folder, self.choices.get(number)))
                number += isinstance(part, Media)
        reply = {
            "request": described[0],
            "parts": described[1],
            "seed": self.seed,
            "finish_reason": str(self.finish_reason),
            "usage": asdict(self.usage),
            "profile": self.profile,
        }
        write_bytes((json.dumps(reply, ensure_ascii=False, indent=2) + "\n").encode(), folder / "reply.json")
        page = folder / "reply.html"
        write_bytes(reply_page(reply).encode(), page)
        return page


class ReplyBuilder:
    """Puts a reply together from the events of its stream.

    `first_number` is the number of the request's first medium; it is known once the stream has begun.
    """

    def __init__(
        self, request: Sequence[Text | Media], *, spliced: bool, profile: str, keeps: object = None
    ) -> None:
        self._request = tuple(request)
        self._spliced = spliced
        self.first_number = 1
        self._profile = profile
        self._keeps = keeps
        self._record: list[Part | Malformed] = []
        self._choices: dict[int, Choice] = {}
        self._done: Done | None = None

    def add(self, event: Event) -> None:
        match event:
            case TextDelta(text=text):
                last = self._record[-1] if self._record else None
                if isinstance(last, Text):
                    self._record[-1] = Text(last.text + text)
                else:
                    self._record.append(Text(text))
            case MetaResponse() | Malformed():
                self._record.append(event)
            case GenerationFailed(call=call):
                self._record.insert(self._place(call), event)
            case MediaReady(call=call, number=number, media=media, choice=choice):
                self._record.insert(self._place(call), media)
                if choice is not None:
                    self._choices[number] = choice
            case Done():
                self._done = event

    def reply(self) -> Reply:
        """The whole reply.

        Raises:
            InputError: the stream has not come to its end.
        """
        if self._done is None:
            raise InputError(
                "The answer is not complete yet",
                hint="Read the stream to its end before asking for its reply.",
            )
        return Reply(
            self._request,
            tuple(self._record),
            self._done.seed,
            self._done.finish_reason,
            self._done.usage,
            self._profile,
            self.first_number,
            self._choices,
            self._keeps,
        )

    def _place(self, call: int) -> int:
        """Where what became of a call stands: where it was spliced, or else after the call itself."""
        if self._spliced:
            return len(self._record)
        calls = [index for index, part in enumerate(self._record) if isinstance(part, MetaResponse)]
        return calls[call] + 1


def keep_media(medium: Media, folder: Path) -> Path:
    """Copy a medium into `folder`, under a name made from its content; the copy's path.

    Raises:
        MediaError: it is no longer where it was, or no longer the same.
        StorageError: the folder cannot be written.
    """
    path = folder / f"{medium.modality}-{medium.sha256[:16]}{medium.path.suffix.lower()}"
    if not path.exists():
        try:
            data = medium.path.read_bytes()
        except OSError as error:
            raise MediaError(
                f"{medium.path} is no longer there", hint="Save replies before their media are removed."
            ) from error
        if hashlib.sha256(data).hexdigest() != medium.sha256:
            raise MediaError(
                f"{medium.path} is no longer what it was", hint="Save replies before their media are changed."
            )
        write_bytes(data, path)
    return path


def describe_part(part: Part, folder: Path) -> dict[str, Any]:
    """A part as reply.json and chat.json hold it; a medium is copied to `folder`/media."""
    match part:
        case Text(text=text):
            return {"type": "text", "text": text}
        case MetaResponse(model=model, input=prompt, options=options, source=source):
            return {
                "type": "meta_response",
                "model": model,
                "input": prompt,
                "options": dict(options),
                "source": source,
            }
        case Media(modality=modality, mime=mime, sha256=sha256):
            path = keep_media(part, folder / "media").relative_to(folder).as_posix()
            return {
                "type": "media",
                "modality": str(modality),
                "path": path,
                "mime": mime,
                "sha256": sha256,
            }
        case GenerationFailed(call=call, cause=cause, hint=hint):
            return {"type": "failed", "call": call, "cause": cause, "hint": hint}


def describe_record(
    part: Part | Malformed, number: int, folder: Path, choice: Choice | None = None
) -> dict[str, Any]:
    """A part of a reply's request or record as reply.json holds it; `number` is that of a medium, and
    `choice` how it was chosen, where it was.
    """
    match part:
        case Malformed(raw=raw, reason=reason):
            return {"type": "malformed", "raw": raw, "reason": reason}
        case Media():
            chosen = {} if choice is None else {"choice": asdict(choice)}
            return {**describe_part(part, folder), "number": number, **chosen}
    return describe_part(part, folder)
