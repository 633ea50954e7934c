"""The values of a batch job: a row as it was written, the request that it becomes, and what became of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from modaverse.context import Media, Text
from modaverse.reply import Reply


class Form(StrEnum):
    """In which form a row came; its result goes out in the same."""

    OWN = "own"
    OPENAI = "openai"


@dataclass(frozen=True, slots=True)
class MediaRef:
    """A medium as a row names it: a path, a `data:` URI, or a URL."""

    uri: str

    def __str__(self) -> str:
        """As it may be shown: of what the row holds itself, only the beginning."""
        return self.uri if len(self.uri) <= 100 else f"{self.uri[:60]}…"


@dataclass(frozen=True, slots=True)
class Options:
    """How one row is answered; what is None is the profile's."""

    temperature: float | None = None
    top_p: float | None = None
    max_new_tokens: int | None = None

    def given(self) -> dict[str, Any]:
        """Those that are not None, by name."""
        named = {
            "temperature": self.temperature,
            "top_p": self.top_p,
            "max_new_tokens": self.max_new_tokens,
        }
        return {name: value for name, value in named.items() if value is not None}


@dataclass(frozen=True, slots=True)
class Job:
    """A row of the file of jobs.

    `parts` are in the order in which the LLM reads them. `digest` stands for everything that the row says,
    so that a row which was changed since it was answered is noticed. `line` counts from 1.
    """

    id: str
    parts: tuple[Text | MediaRef, ...]
    seed: int | None
    options: Options
    form: Form
    line: int
    digest: str

    @property
    def media(self) -> tuple[MediaRef, ...]:
        return tuple(part for part in self.parts if isinstance(part, MediaRef))


@dataclass(frozen=True, slots=True)
class Request:
    """A row that can be answered: its media are files that were opened and found sound."""

    id: str
    parts: tuple[Text | Media, ...]
    seed: int
    options: Options = Options()


@dataclass(frozen=True, slots=True)
class Answered:
    """A request with its reply. `stages` says how many of the `seconds` went where."""

    id: str
    reply: Reply
    seconds: float
    stages: Mapping[str, float] = field(default_factory=dict, hash=False)


@dataclass(frozen=True, slots=True)
class Failed:
    """A row that was not answered: why, and the way out.

    `kind` is the name of the error's class. `reply` is what there is of an answer whose generators failed.
    """

    id: str
    cause: str
    hint: str
    kind: str
    seconds: float = 0.0
    stages: Mapping[str, float] = field(default_factory=dict, hash=False)
    reply: Reply | None = None


Outcome = Answered | Failed
