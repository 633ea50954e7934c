"""The vocabulary of the whole system: frozen values, without tensors and without behaviour.

Two families stand here. *Parts* make up a conversation (`Context` → `Turn` → `Text | Media | MetaResponse`);
*events* are what a stream yields while an answer is being made. `MetaResponse` and
`GenerationFailed` are both: the part that the transcript keeps and the event that announces it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any


class Modality(StrEnum):
    """What a medium is. Text is no medium."""

    IMAGE = "image"
    VIDEO = "video"
    AUDIO = "audio"


class Role(StrEnum):
    USER = "user"
    ASSISTANT = "assistant"


# ------------------------------------------------------------------------------------------ parts


@dataclass(frozen=True, slots=True)
class Text:
    """A run of ordinary text."""

    text: str


@dataclass(frozen=True, slots=True)
class Media:
    """A medium on disk. `sha256` is that of the file's bytes and is the medium's identity."""

    modality: Modality
    path: Path
    mime: str
    sha256: str


@dataclass(frozen=True, slots=True)
class MetaResponse:
    """A complete, allowed call of a generator, as the LLM wrote it.

    `source` is the number of a medium in the context (edits only). `raw` is the exact text that was
    read, markers included; it does not take part in comparisons.
    """

    model: str
    input: str
    options: Mapping[str, Any] = field(default_factory=dict, hash=False)
    source: int | None = None
    raw: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class GenerationFailed:
    """Call number `call` (from 0, within its answer) made nothing; the answer goes on without it.

    Like `MetaResponse` it is both an event and a part: it stands where the medium would, and takes no number.
    """

    call: int
    cause: str
    hint: str = ""


Part = Text | Media | MetaResponse | GenerationFailed


@dataclass(frozen=True, slots=True)
class Turn:
    """What one side said, in order."""

    role: Role
    parts: tuple[Part, ...]


@dataclass(frozen=True, slots=True)
class Context:
    """A conversation. Media are numbered from 1 in order of appearance, given and made alike."""

    turns: tuple[Turn, ...] = ()

    @property
    def media(self) -> tuple[Media, ...]:
        """Every medium, so that number `n` is `media[n - 1]`."""
        return tuple(part for turn in self.turns for part in turn.parts if isinstance(part, Media))

    def with_turn(self, role: Role, *parts: Part) -> Context:
        """A new context with one more turn."""
        return Context((*self.turns, Turn(role, tuple(parts))))


# ----------------------------------------------------------------------------------------- events
# Parser events carry `raw`: joined over all events it is the parser's input, character for character.


@dataclass(frozen=True, slots=True)
class TextDelta:
    """Text that is safe to show: it can no longer become part of a meta-response."""

    text: str

    @property
    def raw(self) -> str:
        return self.text


@dataclass(frozen=True, slots=True)
class WrappedText(TextDelta):
    """Text for which a dialect has a form of its own; `wrapped` is the form as it was read."""

    wrapped: str = field(default="", compare=False)

    @property
    def raw(self) -> str:
        return self.wrapped


@dataclass(frozen=True, slots=True)
class MetaResponseOpened:
    """`Model` is known although the call is still being written, so that a generator can start loading."""

    model: str

    @property
    def raw(self) -> str:
        return ""


@dataclass(frozen=True, slots=True)
class Malformed:
    """Something that began as a meta-response and is none. Nothing is dispatched, the stream goes on.

    `line` and `column` count from 1, in characters, from the start of the stream, and point at the
    fault; `expected` names what could have stood there (empty where the syntax was right).
    """

    raw: str
    reason: str
    hint: str = ""
    line: int = 1
    column: int = 1
    expected: tuple[str, ...] = ()


ParserEvent = TextDelta | MetaResponseOpened | MetaResponse | Malformed


@dataclass(frozen=True, slots=True)
class GenerationProgress:
    """Call number `call` (from 0, within this answer) has done `step` of `steps`."""

    call: int
    step: int
    steps: int


@dataclass(frozen=True, slots=True)
class Choice:
    """How a medium was chosen: of `drawn` in all it agrees best with its prompt (`agreement`, the cosine of
    their embeddings). `retries` is how often the call was asked again, because less than what was wanted
    agreed; `content` is whether it does now.
    """

    agreement: float
    drawn: int
    retries: int = 0
    content: bool = True


@dataclass(frozen=True, slots=True)
class MediaReady:
    """What call number `call` made; it stands in the context as medium `number`.

    `choice` says how it was chosen, where it was compared with its prompt.
    """

    call: int
    number: int
    media: Media
    choice: Choice | None = None


class FinishReason(StrEnum):
    STOP = "stop"  # the LLM ended its answer
    LENGTH = "length"  # the token budget was used up


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens (positions) of one answer: given by the request, sampled by the LLM, spliced media and notes."""

    prompt_tokens: int = 0
    sampled_tokens: int = 0
    spliced_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Done:
    """The end of the stream. `seed` is the one that was used, so that the answer can be made again."""

    finish_reason: FinishReason
    seed: int
    usage: Usage = Usage()


Event = ParserEvent | GenerationProgress | MediaReady | GenerationFailed | Done
