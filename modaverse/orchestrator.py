"""The loop: an answer is written, read, dispatched and spliced at the same time.

    request ─► transcript ─► token ─► parser ─┬─ text ─────────────────────────────► event
                   ▲                          ├─ opened ──► pool.preload
                   │                          └─ complete ─► pool.submit ─► progress, medium ─► events
                   └── encoder ◄── medium ◄──────────────────────────────────────────┘

It knows protocols only (`modaverse.interfaces`). An answer is all or nothing: if its stream is closed early
or fails, generators are cancelled and the conversation is as it was before the request.
"""

from __future__ import annotations

import hashlib
import math
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from modaverse.context import (
    Context,
    Done,
    Event,
    FinishReason,
    GenerationFailed,
    GenerationProgress,
    Malformed,
    Media,
    MediaReady,
    MetaResponse,
    MetaResponseOpened,
    Modality,
    ParserEvent,
    Part,
    Role,
    Text,
    TextDelta,
    Usage,
)
from modaverse.errors import ContextOverflow, InputError, ModaVerseError
from modaverse.interfaces import (
    Encoder,
    GenerationRequest,
    LanguageModel,
    Mask,
    Matcher,
    PendingCall,
    Pool,
    Sampling,
    Transcript,
)
from modaverse.metaresponse import Catalogue, Limits, StreamParser, Vocabulary

if TYPE_CHECKING:
    import torch

Splice = Literal["wait", "none"]
"""When what was made enters the transcript: at once, while the LLM waits, or never."""

Overflow = Literal["error", "forget"]
"""When a request does not fit: an error, or the LLM forgets the oldest requests until it does."""

_REMEMBERED = 256  # embeddings of media, a few kilobytes each


def call_seed(seed: int, index: int) -> int:
    """The seed of call number `index` of an answer: 31 bits, so that any generator takes it."""
    digest = hashlib.blake2b(f"call:{seed}:{index}".encode(), digest_size=4).digest()
    return int.from_bytes(digest, "big") >> 1


@dataclass(slots=True)
class Conversation:
    """A chat: what was said, and the same as the LLM has read it."""

    transcript: Transcript
    context: Context = field(default_factory=Context)
    busy: bool = False


@dataclass(frozen=True, slots=True)
class AnswerSettings:
    """How one answer is to be made."""

    seed: int
    sampling: Sampling
    constrained: bool = True
    splice: Splice = "wait"
    overflow: Overflow = "error"


class Orchestrator:
    """Answers requests. One serves any number of conversations, one at a time.

    Args:
        vocabulary: the LLM's tokens, for the parser.
        mask: keeps answers within the grammar where an answer is `constrained`; None for no mask at all.
        grammar: name or path of the dialect that the LLM writes.
    """

    def __init__(
        self,
        language: LanguageModel,
        encoder: Encoder,
        pool: Pool,
        *,
        vocabulary: Vocabulary,
        mask: Mask | None = None,
        grammar: str = "meta_response",
        limits: Limits = Limits(),  # noqa: B008 - frozen
    ) -> None:
        self.language = language
        self.pool = pool
        self.mask = mask
        self._encoder = encoder
        self._vocabulary = vocabulary
        self._grammar = grammar
        self.limits = limits
        self._catalogue = Catalogue(pool.catalogue.values())
        self._embeddings: OrderedDict[str, torch.Tensor] = OrderedDict()

    def conversation(self) -> Conversation:
        """An empty one."""
        return Conversation(self.language.transcript(seed=0, sampling=Sampling()))

    def restore(self, context: Context, record: Mapping[str, object]) -> Conversation:
        """The conversation of which `record` is the transcript's dump.

        Raises:
            MediaError: one of its media can no longer be decoded.
        """
        conversation = self.conversation()
        conversation.transcript.restore(record, self.features(context))
        conversation.context = context
        return conversation

    def stream(
        self, conversation: Conversation, parts: Sequence[Text | Media], settings: AnswerSettings
    ) -> Iterator[Event]:
        """Answer a request, as events. The conversation goes on from it once `Done` was made.

        Raises:
            InputError: the conversation is still being answered.
            MediaError: a medium of the request cannot be decoded.
            ContextOverflow: the request does not fit into what is left of the LLM's context.
        """
        if conversation.busy:
            raise InputError(
                "This chat is still answering another request",
                hint="Read that stream to its end, or close it, before the next request.",
            )
        conversation.busy = True
        answer = _Answer(self, conversation, parts, settings)
        try:
            yield from answer.write()
            conversation.context = answer.context()
        except BaseException:
            answer.undo()
            raise
        finally:
            conversation.busy = False
        yield answer.done()

    def parser(self, sources: dict[int, Modality]) -> StreamParser:
        return StreamParser(
            self._grammar,
            vocabulary=self._vocabulary,
            catalogue=self._catalogue,
            sources=sources,
            limits=self.limits,
        )

    def features(self, context: Context) -> dict[int, torch.Tensor]:
        """The embedding of each medium of a conversation, by number."""
        return dict(enumerate(self.embed(context.media), start=1))

    def embed(self, media: Sequence[Media]) -> list[torch.Tensor]:
        """The embedding (dim,) of each medium. A medium is encoded once, whoever asks for it how often."""
        new = {medium.sha256: medium for medium in media if medium.sha256 not in self._embeddings}
        known = {
            medium.sha256: self._embeddings[medium.sha256] for medium in media if medium.sha256 not in new
        }
        if new:
            known.update(zip(new, self._encoder.encode(list(new.values())), strict=True))
        for key, embedding in known.items():
            self._embeddings[key] = embedding
            self._embeddings.move_to_end(key)
        while len(self._embeddings) > _REMEMBERED:
            self._embeddings.popitem(last=False)
        return [known[medium.sha256] for medium in media]


@dataclass(slots=True)
class _Call:
    """A call on its way."""

    index: int
    pending: PendingCall
    due: float  # the number of sampled tokens at which it is spliced
    part: int  # where its meta-response stands among the answer's parts


class _Answer:
    """One answer in the making."""

    def __init__(
        self,
        owner: Orchestrator,
        conversation: Conversation,
        request: Sequence[Text | Media],
        settings: AnswerSettings,
    ) -> None:
        self._owner = owner
        self._conversation = conversation
        self._transcript = conversation.transcript
        self._mark = conversation.transcript.mark()
        self._record: dict[str, Any] | None = None  # the transcript before anything in it was forgotten
        self._before = conversation.context.with_turn(Role.USER, *request)
        self._media = list(self._before.media)
        self._request = request
        self._settings = settings
        self._parts: list[Part] = []
        self._calls: list[_Call] = []
        self._number_of_calls = 0
        self._left = 0  # tokens that may still be sampled
        self._sampled = 0
        self._prompt_end = self._prompt_tokens = 0
        self._finish = FinishReason.LENGTH
        self._parser = owner.parser(self._sources())
        self._matcher: Matcher | None = None

    # ------------------------------------------------------------------------------------- writing

    def write(self) -> Iterator[Event]:
        """All events but `Done`."""
        self._ask()
        self._begin_segment()
        while self._left > 0:
            token = self._next_token()
            if self._transcript.is_end(token):
                self._finish = FinishReason.STOP
                break
            for event in self._parser.feed_ids((token,)):
                yield from self._handle(event)
            yield from self._settle(self._sampled)
        for event in self._parser.close():
            yield from self._handle(event)
        yield from self._settle(math.inf)

    def context(self) -> Context:
        """The conversation with this answer."""
        return self._before.with_turn(Role.ASSISTANT, *_joined(self._parts))

    def done(self) -> Done:
        spliced = len(self._transcript) - self._prompt_end - self._sampled
        usage = Usage(self._prompt_tokens, self._sampled, spliced)
        return Done(self._finish, self._settings.seed, usage)

    def undo(self) -> None:
        """Cancel what is being made, and leave the transcript as it was before the request."""
        for call in self._calls:
            call.pending.cancel()
        if self._record is None:
            self._transcript.rewind(self._mark)
        else:
            self._transcript.rewind(0)
            self._transcript.restore(self._record, self._owner.features(self._conversation.context))

    def _ask(self) -> None:
        """Put the request into the transcript, at the cost of older ones where the settings say so."""
        while True:
            try:
                return self._write_request()
            except ContextOverflow:
                self._transcript.rewind(self._mark)
                if self._settings.overflow == "error":
                    raise
                self._record = self._record or self._transcript.dump()
                if not self._transcript.forget_turn():
                    raise
                self._mark = self._transcript.mark()

    def _write_request(self) -> None:
        transcript, settings = self._transcript, self._settings
        media = [part for part in self._request if isinstance(part, Media)]
        embeddings = iter(self._owner.embed(media))
        number = len(self._media) - len(media)
        transcript.set_sampling(seed=settings.seed, sampling=settings.sampling)
        transcript.add_user_start()
        for part in self._request:
            if isinstance(part, Text):
                transcript.add_text(part.text)
            else:
                number += 1
                transcript.add_media(number, part.modality, next(embeddings))
        transcript.add_user_end()
        self._prompt_end = len(transcript)
        self._prompt_tokens = self._prompt_end - self._mark
        self._left = settings.sampling.max_new_tokens
        context = self._owner.language.context_length
        needed = 1 if settings.overflow == "error" else min(self._left, context // 4)
        if self._prompt_end + needed > context:
            raise ContextOverflow(
                f"The conversation takes {self._prompt_end:,} positions, and this LLM's context holds "
                f"{context:,}, so no room is left for an answer",
                hint="Start a new chat, or give less text and fewer media.",
            )

    def _begin_segment(self) -> None:
        """After the request and after each splice: less room, perhaps more sources."""
        self._left = min(self._left, self._owner.language.context_length - len(self._transcript))
        if self._left > 0 and self._owner.mask is not None and self._settings.constrained:
            calls_left = self._owner.limits.max_calls - self._number_of_calls
            self._matcher = self._owner.mask.start(self._sources(), self._left, calls_left=calls_left)

    def _next_token(self) -> int:
        matcher = self._matcher
        token = self._transcript.next_token(None if matcher is None else matcher.allow)
        if matcher is not None:
            matcher.accept(token)
        self._left -= 1
        self._sampled += 1
        return token

    def _sources(self) -> dict[int, Modality]:
        return {number: medium.modality for number, medium in enumerate(self._media, start=1)}

    # -------------------------------------------------------------------------------------- events

    def _handle(self, event: ParserEvent) -> Iterator[Event]:
        match event:
            case TextDelta(text=text):
                self._parts.append(Text(text))
                yield event
            case MetaResponseOpened(model=model):
                self._owner.pool.preload(model)
                yield event
            case Malformed(raw=raw):
                self._parts.append(Text(raw))
                yield event
            case MetaResponse():
                self._parts.append(event)
                failure = self._dispatch(event)  # before anybody looks at the event
                yield event
                if failure is not None:
                    yield failure

    def _dispatch(self, response: MetaResponse) -> GenerationFailed | None:
        index = self._number_of_calls
        self._number_of_calls += 1
        request = GenerationRequest(
            model=response.model,
            prompt=response.input,
            seed=call_seed(self._settings.seed, index),
            options=response.options,
            source=None if response.source is None else self._media[response.source - 1],
        )
        due = self._sampled if self._settings.splice == "wait" else math.inf
        try:
            pending = self._owner.pool.submit(request)
        except ModaVerseError as error:
            return self._fail(index, error)
        self._calls.append(_Call(index, pending, due, len(self._parts) - 1))
        return None

    def _settle(self, now: float) -> Iterator[Event]:
        """Wait for the calls that are due, in order, and splice what they made."""
        while self._calls and self._calls[0].due <= now:
            yield from self._collect(self._calls[0])
            del self._calls[0]

    def _collect(self, call: _Call) -> Iterator[Event]:
        for step, steps in call.pending.events():
            yield GenerationProgress(call.index, step, steps)
        try:
            medium = call.pending.result()
            embedding = self._owner.embed([medium])[0] if self._splices else None
        except ModaVerseError as error:
            yield self._fail(call.index, error)
            return
        self._media.append(medium)
        number = len(self._media)
        if embedding is None:
            self._place_beside(call, medium)
        else:
            self._parts.append(medium)
            self._splice(number, medium, embedding)
        yield MediaReady(call.index, number, medium)

    # ------------------------------------------------------------------------------------ splicing

    @property
    def _splices(self) -> bool:
        return self._settings.splice != "none"

    def _splice(self, number: int, medium: Media, embedding: torch.Tensor) -> None:
        try:
            self._transcript.add_media(number, medium.modality, embedding)
        except ContextOverflow:
            self._left = 0  # the medium is made and stays; there is no room to go on
            return
        self._parser.add_source(number, medium.modality)
        self._begin_segment()

    def _fail(self, index: int, error: ModaVerseError) -> GenerationFailed:
        """Tell the LLM what went wrong, in the place where the medium would stand."""
        if self._splices:
            try:
                self._transcript.add_note(error.message)
                self._begin_segment()
            except ContextOverflow:
                self._left = 0
        return GenerationFailed(index, error.message, error.hint)

    def _place_beside(self, call: _Call, medium: Media) -> None:
        """Nothing was spliced, so the medium stands where it belongs: after its meta-response."""
        self._parts.insert(call.part + 1, medium)
        for later in self._calls:
            later.part += later.part > call.part


def _joined(parts: Sequence[Part]) -> list[Part]:
    """The parts with neighbouring text as one."""
    joined: list[Part] = []
    for part in parts:
        last = joined[-1] if joined else None
        if isinstance(part, Text) and isinstance(last, Text):
            joined[-1] = Text(last.text + part.text)
        else:
            joined.append(part)
    return joined
