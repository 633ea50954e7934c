"""The one place that composes a profile into a ready `ModaVerse`.

    profile ─► LLM + adapter + projectors ─┐
            ─► encoder, trunk by trunk ────┼─► Orchestrator ─► run, stream, chat
            ─► generator cards ─► pool ────┘

Reading a profile is quick; models are loaded by `load()`, or when the first request comes, or (encoder and
generators) when they are first needed.
"""

from __future__ import annotations

import logging
import secrets
import shutil
import tempfile
import threading
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from inspect import GEN_CLOSED, getgeneratorstate
from pathlib import Path
from typing import Any

from modaverse.assembly import assemble, media_limits
from modaverse.chat_file import read_chat, write_chat
from modaverse.context import Context, Event, Media, Text
from modaverse.errors import InputError, ModelError
from modaverse.generation import GeneratorPool
from modaverse.interfaces import BatchLanguageModel, Need, Sampling, Transcript
from modaverse.many_answers import Steps, Together
from modaverse.media import MediaLimits, as_media
from modaverse.orchestrator import AnswerSettings, Choosing, Conversation, Orchestrator, Splice
from modaverse.reply import Reply, ReplyBuilder
from modaverse.saving import push_profile, save_profile
from modaverse.settings import Profile, load_profile

_log = logging.getLogger(__name__)

Request = str | Sequence[Any]
"""Text, or a list in which text is `str` and everything else is a medium (see `modaverse.media.as_media`)."""


class ModaVerse:
    """Any-to-any requests on one profile. One `ModaVerse` serves one thread at a time.

    Media that were made, and given ones that are no files, lie in `folder`; without one, in a temporary
    folder that vanishes with this object and the last of its replies: those must be saved to be kept.
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
        self._turn, self._loading = threading.Lock(), threading.Lock()
        self._temporary: _TemporaryFolder | None = None
        if folder is None:
            self._temporary = _TemporaryFolder()
            self.folder = self._temporary.path
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
        """The loop; loads what it needs the first time, and once, whatever threads ask for it."""
        with self._loading:
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

    def together(self) -> Together:
        """Many requests at once: streams of conversations that begin from here on are admitted to it. An LLM
        whose kind cannot read rows together writes them one by one.
        """
        orchestrator = self.orchestrator
        if isinstance(orchestrator.language, BatchLanguageModel):
            return Together(orchestrator)
        from modaverse.language.batched_decoding import BatchDecoder
        from modaverse.language.model import MultimodalLM

        if isinstance(orchestrator.language, MultimodalLM):
            try:
                orchestrator.language = BatchDecoder(orchestrator.language, mask=orchestrator.mask)
            except ModelError as error:
                _log.warning("%s", error.message)
        return Together(orchestrator)

    def load_chat(self, folder: str | Path) -> Chat:
        """Go on with a chat that `Chat.save` wrote.

        Raises:
            InputError: there is none, or it was held with another profile.
            MediaError: one of its media is missing or was changed.
        """
        context, record = read_chat(Path(folder), self.profile.name, self._limits)
        return Chat(self, self.orchestrator.restore(context, record))

    def save_pretrained(self, folder: str | Path) -> None:
        """Write the profile with its adapter to `folder`, from where `from_profile` loads it.

        Raises:
            StorageError: the folder cannot be written.
        """
        save_profile(self.profile, Path(folder))

    def push_to_hub(self, repository: str, *, private: bool = False) -> str:
        """Upload what `save_pretrained` writes to a repository on the hub (owner/name); its address.

        Raises:
            SettingsError: the profile needs files that lie only on this machine.
            StorageError: the hub does not take it.
        """
        return push_profile(self.profile, repository, private=private)

    def close(self) -> None:
        """Cancel what is being made and unload the generators."""
        pool = None if self._orchestrator is None else self._orchestrator.pool
        if isinstance(pool, GeneratorPool):
            pool.close()

    def __enter__(self) -> ModaVerse:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _TemporaryFolder:
    """A folder that vanishes with the last who holds this."""

    def __init__(self) -> None:
        self.path = Path(tempfile.mkdtemp(prefix="modaverse-"))
        weakref.finalize(self, shutil.rmtree, self.path, ignore_errors=True)


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
        candidates: int | None = None,
        min_agreement: float | None = None,
        max_retries: int | None = None,
    ) -> AnswerStream:
        """Answer a request event by event. What is not given is the profile's.

        Closing the stream early cancels its generators and leaves the chat as it was.

        Args:
            prompt: text, or a list of texts and media in the order in which they are to be read.
            media: media that come before the prompt.
            seed: decides every token and every byte; drawn, and told by `Done`, where it is not given.
            constrained: keep the answer within the grammar.
            splice: "wait" shows the LLM what was made, before it goes on; "deferred" lets it write on
                meanwhile, up to a fixed place; "none" never shows it.
            candidates: media that are drawn for each call; the one that agrees best with its prompt is kept.
            min_agreement: below this agreement a call is asked again, at most `max_retries` times.

        Raises:
            InputError: a part of the request is no text and no medium, or the request is empty.
            SettingsError: an option makes no sense.
            MediaError: a medium cannot be used.
        """
        owner, defaults = self._owner, self._owner.profile.answer
        parts = _parts(prompt, media, owner.folder, owner._limits)
        if owner.profile.llm.adapter is None:
            _check_words(parts, splice)
        sampling = Sampling(
            defaults.temperature if temperature is None else temperature,
            defaults.top_p if top_p is None else top_p,
            defaults.max_new_tokens if max_new_tokens is None else max_new_tokens,
        )
        choosing = Choosing(
            defaults.candidates if candidates is None else candidates,
            defaults.min_agreement if min_agreement is None else min_agreement,
            defaults.max_retries if max_retries is None else max_retries,
        )
        settings = AnswerSettings(
            secrets.randbelow(2**31) if seed is None else seed,
            sampling,
            defaults.constrained if constrained is None else constrained,
            defaults.splice if splice is None else splice,
            defaults.overflow,
            defaults.splice_after,
            choosing,
        )
        conversation = self._begun()
        steps = owner.orchestrator.steps(conversation, parts, settings)
        builder = ReplyBuilder(
            parts,
            spliced=settings.splice != "none",
            profile=owner.profile.name,
            keeps=owner._temporary,
        )
        noted = _noted(steps, conversation, builder)
        return AnswerStream(noted, conversation.transcript, builder, owner._turn)

    def save(self, folder: str | Path) -> None:
        """Write the chat with its media to `folder`, from where `ModaVerse.load_chat` goes on.

        Raises:
            InputError: a request is just being answered.
            StorageError: the folder cannot be written.
            MediaError: one of its media is no longer where it was, or what it was.
        """
        conversation = self._begun()
        if conversation.busy:  # the transcript has more than the context by now
            raise InputError(
                "This chat is still answering a request",
                hint="Read that stream to its end, or close it, before saving the chat.",
            )
        write_chat(Path(folder), self._owner.profile.name, self.context, conversation.transcript.dump())

    def _begun(self) -> Conversation:
        if self._conversation is None:
            self._conversation = self._owner.orchestrator.conversation()
        return self._conversation


class AnswerStream(Iterator[Event]):
    """The events of one answer. When it is exhausted, `reply()` has the whole of it.

    `steps` and `transcript` are for who answers many requests at once (`ModaVerse.together`), and takes the
    steps instead of the events.

    Raises (`next`, `close`):
        InputError: another thread is just using the same `ModaVerse`.
    """

    def __init__(
        self, steps: Steps, transcript: Transcript, builder: ReplyBuilder, turn: threading.Lock
    ) -> None:
        self.steps = steps
        self.transcript = transcript
        self._builder = builder
        self._turn = turn

    def __iter__(self) -> AnswerStream:
        return self

    def __next__(self) -> Event:
        with self._alone():
            return next(step for step in self.steps if not isinstance(step, Need))

    def reply(self) -> Reply:
        """The whole answer.

        Raises:
            InputError: the stream has not come to its end.
        """
        return self._builder.reply()

    def close(self) -> None:
        """Give up: generators are cancelled, and the chat is as it was before the request."""
        if getgeneratorstate(self.steps) != GEN_CLOSED:
            with self._alone():
                self.steps.close()

    @contextmanager
    def _alone(self) -> Iterator[None]:
        if not self._turn.acquire(blocking=False):
            raise InputError(
                "This ModaVerse is at work in another thread",
                hint="Use it in one thread at a time, or make one for each thread.",
            )
        try:
            yield
        finally:
            self._turn.release()

    def __enter__(self) -> AnswerStream:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _noted(steps: Steps, conversation: Conversation, builder: ReplyBuilder) -> Steps:
    """`steps`, of which the builder sees every event."""
    builder.first_number = len(conversation.context.media) + 1
    with closing(steps):
        for step in steps:
            if not isinstance(step, Need):
                builder.add(step)
            yield step


def _parts(prompt: Request, media: Iterable[Any], folder: Path, limits: MediaLimits) -> list[Text | Media]:
    """The request in order: media first, then the prompt."""
    if _is_one(media):
        raise InputError("media must be a list", hint="Write media=[path], also for a single one.")
    if not isinstance(prompt, str) and _is_one(prompt):
        raise InputError(
            "The prompt must be a text or a list", hint="Write [path], also for a single medium."
        )
    items = [prompt] if isinstance(prompt, str) else prompt
    parts: list[Text | Media] = [as_media(item, folder, limits=limits) for item in media]
    for item in items:
        if isinstance(item, str | Text):
            parts += _text(item if isinstance(item, str) else item.text)
        else:
            parts.append(as_media(item, folder, limits=limits))
    if not parts:
        raise InputError("The request is empty", hint="Give a text, a medium, or both.")
    return parts


def _is_one(value: object) -> bool:
    """Whether it is a single thing: text, a medium of any kind, or what nobody can go through."""
    return (
        isinstance(value, str | bytes | bytearray | Path)
        or hasattr(value, "__array_interface__")  # arrays and pictures: their items would be rows
        or not isinstance(value, Iterable)
    )


def _text(text: str) -> list[Text]:
    """Raises:
    InputError: it holds what no file could: bytes of a command line that are no UTF-8 become such.
    """
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InputError("The request's text is no Unicode", hint="Give it in UTF-8.") from error
    return [Text(text)] if text else []


def _check_words(parts: Iterable[Text | Media], splice: Splice | None) -> None:
    """Raises:
    InputError: an LLM without an adapter, and so without projectors, is to read media.
    """
    if any(isinstance(part, Media) for part in parts):
        raise InputError(
            "This profile's LLM reads no media: nothing was trained that would show them to it",
            hint="Ask in words alone, or train an adapter with modaverse train.",
        )
    if splice not in (None, "none"):
        raise InputError("This profile's LLM reads no media, made ones neither", hint='Say splice="none".')
