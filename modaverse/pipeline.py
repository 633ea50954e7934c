"""The one place that composes a profile into a ready `ModaVerse`.

    profile ─► LLM + adapter + projectors ─┐
            ─► encoder, trunk by trunk ────┼─► Orchestrator ─► run, stream, chat
            ─► generator cards ─► pool ────┘

Reading a profile is quick; models are loaded by `load()`, or when the first request comes, or (encoder and
generators) when they are first needed.
"""

from __future__ import annotations

import secrets
import shutil
import tempfile
import threading
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from modaverse.assembly import assemble, media_limits
from modaverse.chat_file import read_chat, write_chat
from modaverse.context import Context, Event, Media, Text
from modaverse.errors import InputError
from modaverse.generation import GeneratorPool
from modaverse.interfaces import Sampling
from modaverse.media import MediaLimits, as_media
from modaverse.orchestrator import AnswerSettings, Conversation, Orchestrator, Splice
from modaverse.reply import Reply, ReplyBuilder
from modaverse.settings import Profile, load_profile

Request = str | Sequence[Any]
"""Text, or a list in which text is `str` and everything else is a medium (see `modaverse.media.as_media`)."""


class ModaVerse:
    """Any-to-any requests on one profile. One `ModaVerse` serves one thread at a time.

    Media that were made, and given ones that are no files, lie in `folder`; without one, in a temporary
    folder that vanishes with this object, so that a reply must be saved to be kept.
    """

    def __init__(
        self,
        profile: Profile,
        assemble: Callable[[Path], Orchestrator],
        *,
        folder: str | Path | None = None,
    ) -> None:
        self.profile = profile
        self._assemble = assemble
        self._orchestrator: Orchestrator | None = None
        self._turn = threading.Lock()
        if folder is None:
            self.folder = Path(tempfile.mkdtemp(prefix="modaverse-"))
            weakref.finalize(self, shutil.rmtree, self.folder, ignore_errors=True)
        else:
            self.folder = Path(folder)
        self._limits = media_limits(profile)

    @classmethod
    def from_profile(
        cls, profile: str | Path | Profile = "mini", *, folder: str | Path | None = None
    ) -> ModaVerse:
        """A profile by its name, its TOML file, or the folder that `modaverse train` wrote.

        Raises:
            SettingsError: there is no such profile, or it does not hold together.
        """
        settings = profile if isinstance(profile, Profile) else load_profile(profile)
        return cls(settings, lambda media: assemble(settings, media), folder=folder)

    def load(self) -> ModaVerse:
        """Load the LLM now instead of with the first request.

        Raises:
            ModelNotFound: a model's files are not there; CheckpointError: they cannot be used.
        """
        _ = self.orchestrator
        return self

    @property
    def orchestrator(self) -> Orchestrator:
        """The loop; loads what it needs the first time."""
        if self._orchestrator is None:
            self._orchestrator = self._assemble(self.folder)
        return self._orchestrator

    # ------------------------------------------------------------------------------------ requests

    def run(self, prompt: Request, media: Iterable[Any] = (), **options: Any) -> Reply:
        """Answer one request; the options are those of `stream`."""
        return self.chat().run(prompt, media, **options)

    def stream(self, prompt: Request, media: Iterable[Any] = (), **options: Any) -> AnswerStream:
        """Answer one request event by event, as `Chat.stream` does."""
        return self.chat().stream(prompt, media, **options)

    def chat(self) -> Chat:
        """A conversation whose context is kept from request to request."""
        return Chat(self)

    def load_chat(self, folder: str | Path) -> Chat:
        """Go on with a chat that `Chat.save` wrote.

        Raises:
            InputError: there is none, or it was held with another profile.
            MediaError: one of its media is missing or was changed.
        """
        context, record = read_chat(Path(folder), self.profile.name, self._limits)
        return Chat(self, self.orchestrator.restore(context, record))

    def close(self) -> None:
        """Cancel what is being made and unload the generators."""
        pool = None if self._orchestrator is None else self._orchestrator.pool
        if isinstance(pool, GeneratorPool):
            pool.close()

    def __enter__(self) -> ModaVerse:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Chat:
    """One conversation. Numbers of media go on from request to request."""

    def __init__(self, owner: ModaVerse, conversation: Conversation | None = None) -> None:
        self._owner = owner
        self._conversation = conversation

    @property
    def context(self) -> Context:
        """What was said so far."""
        return Context() if self._conversation is None else self._conversation.context

    def run(self, prompt: Request, media: Iterable[Any] = (), **options: Any) -> Reply:
        """Answer a request; the options are those of `stream`."""
        stream = self.stream(prompt, media, **options)
        for _ in stream:
            pass
        return stream.reply()

    def stream(
        self,
        prompt: Request,
        media: Iterable[Any] = (),
        *,
        seed: int | None = None,
        constrained: bool | None = None,
        splice: Splice | None = None,
        temperature: float | None = None,
        top_p: float | None = None,
        max_new_tokens: int | None = None,
    ) -> AnswerStream:
        """Answer a request event by event. What is not given is the profile's.

        Closing the stream early cancels its generators and leaves the chat as it was.

        Args:
            prompt: text, or a list of texts and media in the order in which they are to be read.
            media: media that come before the prompt.
            seed: decides every token and every byte; drawn, and told by `Done`, where it is not given.
            constrained: keep the answer within the grammar.
            splice: "wait" shows the LLM what was made, "none" does not.

        Raises:
            InputError: a part of the request is no text and no medium, or the request is empty.
            MediaError: a medium cannot be used.
        """
        owner, defaults = self._owner, self._owner.profile.answer
        parts = _parts(prompt, media, owner.folder, owner._limits)
        sampling = Sampling(
            defaults.temperature if temperature is None else temperature,
            defaults.top_p if top_p is None else top_p,
            defaults.max_new_tokens if max_new_tokens is None else max_new_tokens,
        )
        settings = AnswerSettings(
            secrets.randbelow(2**31) if seed is None else seed,
            sampling,
            defaults.constrained if constrained is None else constrained,
            defaults.splice if splice is None else splice,
            defaults.overflow,
        )
        events = owner.orchestrator.stream(self._begun(), parts, settings)
        builder = ReplyBuilder(
            parts,
            spliced=settings.splice != "none",
            first_number=len(self.context.media) + 1,
            profile=owner.profile.name,
        )
        return AnswerStream(events, builder, owner._turn)

    def save(self, folder: str | Path) -> None:
        """Write the chat with its media to `folder`, from where `ModaVerse.load_chat` goes on.

        Raises:
            StorageError: the folder cannot be written.
            MediaError: one of its media is no longer where it was.
        """
        write_chat(Path(folder), self._owner.profile.name, self.context, self._begun().transcript.dump())

    def _begun(self) -> Conversation:
        if self._conversation is None:
            self._conversation = self._owner.orchestrator.conversation()
        return self._conversation


class AnswerStream(Iterator[Event]):
    """The events of one answer. When it is exhausted, `reply()` has the whole of it.

    Raises (`next`):
        InputError: another thread is just using the same `ModaVerse`.
    """

    def __init__(self, events: Iterator[Event], builder: ReplyBuilder, turn: threading.Lock) -> None:
        self._events = events
        self._builder = builder
        self._turn = turn

    def __iter__(self) -> AnswerStream:
        return self

    def __next__(self) -> Event:
        if not self._turn.acquire(blocking=False):
            raise InputError(
                "This ModaVerse is at work in another thread",
                hint="Use it in one thread at a time, or make one for each thread.",
            )
        try:
            event = next(self._events)
        finally:
            self._turn.release()
        self._builder.add(event)
        return event

    def reply(self) -> Reply:
        """The whole answer.

        Raises:
            InputError: the stream has not come to its end.
        """
        return self._builder.reply()

    def close(self) -> None:
        """Give up: generators are cancelled, and the chat is as it was before the request."""
        self._events.close()  # type: ignore[attr-defined]

    def __enter__(self) -> AnswerStream:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _parts(prompt: Request, media: Iterable[Any], folder: Path, limits: MediaLimits) -> list[Text | Media]:
    """The request in order: media first, then the prompt."""
    if isinstance(media, (str, bytes, Path)):
        raise InputError("media must be a list", hint="Write media=[path], also for a single one.")
    items = [prompt] if isinstance(prompt, str) else list(prompt)
    parts: list[Text | Media] = [as_media(item, folder, limits=limits) for item in media]
    for item in items:
        if isinstance(item, str):
            parts += [Text(item)] if item else []
        else:
            parts.append(item if isinstance(item, Text) else as_media(item, folder, limits=limits))
    if not parts:
        raise InputError("The request is empty", hint="Give a text, a medium, or both.")
    return parts
