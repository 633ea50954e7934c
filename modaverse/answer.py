"""One answer in the making, step by step.

`Answer.steps` is the loop of `modaverse.orchestrator`. Before it does something that takes time it yields
what it needs (`interfaces.Need`): whoever drives many answers sees to it for all of them together, and
whoever drives one just goes on, and the answer does it by itself.

When a medium enters the transcript is a matter of tokens, never of time:

    splice      its place                                  what the LLM knows as it writes on
    wait        directly behind its call                   what was made
    deferred    see `modaverse.splicing`                   nothing until that place; then what was made
    none        nowhere; it stands beside its call         nothing
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, get_args

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
from modaverse.errors import ContextOverflow, ModaVerseError, SettingsError
from modaverse.interfaces import (
    EmbeddingsNeeded,
    GenerationRequest,
    Matcher,
    MediumNeeded,
    Need,
    Sampling,
    TokenNeeded,
    Transcript,
)
from modaverse.ordering import Choosing, Order, call_seed, order
from modaverse.splicing import AFTER, SplicePlaces

if TYPE_CHECKING:
    import torch

    from modaverse.orchestrator import Orchestrator

Splice = Literal["wait", "deferred", "none"]
"""When what was made enters the transcript: at once, while the LLM waits; at a fixed place, up to which it
writes on; or never."""

Overflow = Literal["error", "forget"]
"""When a request does not fit: an error, or the LLM forgets the oldest requests until it does."""

_HINT = "Ask for it again, or for something else."


@dataclass(slots=True)
class Conversation:
    """A chat: what was said, and the same as the LLM has read it."""

    transcript: Transcript
    context: Context = field(default_factory=Context)
    busy: bool = False


@dataclass(frozen=True, slots=True)
class AnswerSettings:
    """How one answer is to be made; `splice_after` counts with `splice="deferred"` (`modaverse.splicing`)."""

    seed: int
    sampling: Sampling
    constrained: bool = True
    splice: Splice = "wait"
    overflow: Overflow = "error"
    splice_after: int = AFTER
    choosing: Choosing = Choosing()  # noqa: RUF009 - frozen

    def __post_init__(self) -> None:
        if self.splice not in get_args(Splice):
            raise SettingsError(
                f"there is no splice {self.splice!r}", hint=f"There are: {', '.join(get_args(Splice))}."
            )


_Whole = tuple[dict[str, Any], "dict[int, torch.Tensor]"]
"""What `Transcript.restore` takes."""


@dataclass(slots=True)
class _Call:
    """A call whose medium has not come to its place yet."""

    index: int
    model: str
    makes: Modality
    order: Order
    part: int  # where its meta-response stands among the answer's parts


class Answer:
    """One answer. Nothing happens before its `steps` are taken; `undo` takes all of them back."""

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
        self._whole: _Whole | None = None  # the transcript before anything in it was forgotten
        self._before = conversation.context.with_turn(Role.USER, *request)
        self._media = list(self._before.media)
        self._request = request
        self._settings = settings
        self._splices = settings.splice != "none"
        self._places = SplicePlaces(settings.splice_after)
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

    def steps(self) -> Iterator[Event | Need]:
        """All events but `Done`, and what is needed between them."""
        if self._settings.choosing.looks:
            self._owner.embeddings.texts(["a picture"])  # an encoder that reads no text says so at once
        yield from self._ask()
        self._begin_segment()
        while self._left > 0:
            yield TokenNeeded(self._transcript, self._matcher)
            token = self._transcript.next_token(None if self._matcher is None else self._matcher.allow)
            if self._transcript.is_end(token):
                if self._goes_on_behind_media():
                    yield from self._settle_all()
                    continue
                self._sampled += 1
                self._finish = FinishReason.STOP
                break
            self._count(token)
            events = self._parser.feed_ids((token,))
            for event in events:
                yield from self._handle(event)
            yield from self._settle(self._due(events))
        for event in self._parser.close():
            yield from self._handle(event)
        yield from self._settle_all()

    def context(self) -> Context:
        """The conversation with this answer."""
        return self._before.with_turn(Role.ASSISTANT, *joined(self._parts))

    def done(self) -> Done:
        spliced = len(self._transcript) - self._prompt_end - self._sampled
        usage = Usage(self._prompt_tokens, self._sampled, spliced)
        return Done(self._finish, self._settings.seed, usage)

    def undo(self) -> None:
        """Cancel what is being made, and leave the transcript as it was before the request."""
        for call in self._calls:
            call.order.cancel()
        if self._whole is None:
            self._transcript.rewind(self._mark)
        else:
            self._transcript.rewind(0)
            self._transcript.restore(*self._whole)

    def _ask(self) -> Iterator[Need]:
        """Put the request into the transcript, at the cost of older ones where the settings say so."""
        media = [part for part in self._request if isinstance(part, Media)]
        if media:
            yield EmbeddingsNeeded(media)
        embeddings = self._owner.embeddings.media(media)
        while True:
            try:
                return self._write_request(embeddings)
            except ContextOverflow:
                self._transcript.rewind(self._mark)
                if self._settings.overflow == "error":
                    raise
                if self._whole is None:  # with its media's embeddings: they cannot fail any more in `undo`
                    features = self._owner.features(self._conversation.context)
                    self._whole = self._transcript.dump(), features
                if not self._transcript.forget_turn():
                    raise
                self._mark = self._transcript.mark()

    def _write_request(self, embeddings: Sequence[torch.Tensor]) -> None:
        transcript, settings = self._transcript, self._settings
        known = len(self._media) - len(embeddings)
        numbered = enumerate(embeddings, start=known + 1)
        transcript.set_sampling(seed=settings.seed, sampling=settings.sampling)
        transcript.add_user_start()
        for part in self._request:
            if isinstance(part, Text):
                transcript.add_text(part.text)
            else:
                number, embedding = next(numbered)
                transcript.add_media(number, part.modality, embedding)
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
        """After the request, and whenever calls can name other media or less room is left."""
        self._left = min(self._left, self._owner.language.context_length - len(self._transcript))
        sources = self._sources()
        self._parser.set_sources(sources)
        if self._left > 0 and self._owner.mask is not None and self._settings.constrained:
            calls_left = self._owner.limits.max_calls - self._number_of_calls
            self._matcher = self._owner.mask.start(sources, self._left, calls_left=calls_left)

    def _count(self, token: int) -> None:
        if self._matcher is not None:
            self._matcher.accept(token)
        self._left -= 1
        self._sampled += 1

    def _goes_on_behind_media(self) -> bool:
        """Whether the end that was just sampled is none yet, because media are still to be spliced: it is
        taken back, and the LLM may say something about them.
        """
        if not (self._calls and self._splices and self._parser.settled):
            return False
        self._transcript.rewind(len(self._transcript) - 1)
        return True

    # -------------------------------------------------------------------------------------- events

    def _handle(self, event: ParserEvent) -> Iterator[Event]:
        match event:
            case TextDelta(text=text):
                self._parts.append(Text(text))
            case MetaResponseOpened(model=model):
                self._owner.pool.preload(model)
            case Malformed(raw=raw):
                self._parts.append(Text(raw))
            case MetaResponse():
                self._dispatch(event)  # before anybody looks at the event
        yield event

    def _dispatch(self, response: MetaResponse) -> None:
        index = self._number_of_calls
        self._number_of_calls += 1
        media, pending = self._source(response.source)
        request = GenerationRequest(
            model=response.model,
            prompt=response.input,
            seed=call_seed(self._settings.seed, index),
            options=response.options,
            source=media,
        )
        started = order(
            self._owner.pool,
            request,
            self._settings.choosing,
            self._owner.embeddings.agreement,
            source=pending,
        )
        makes = self._owner.pool.catalogue[response.model].makes
        self._calls.append(_Call(index, response.model, makes, started, len(self._parts)))
        self._parts.append(response)

    # --------------------------------------------------------------------------------------- media

    def _sources(self) -> dict[int, Modality]:
        """The media that calls can name: those there are, and those in the making. The latter have the
        numbers that they get if none before them fails; a failure takes none, and what follows moves up.
        """
        kinds = [medium.modality for medium in self._media]
        if self._splices:
            kinds += [call.makes for call in self._calls]
        return dict(enumerate(kinds, start=1))

    def _source(self, number: int | None) -> tuple[Media | None, Order | None]:
        """The medium of that number, or the call that makes it."""
        if number is None:
            return None, None
        if number <= len(self._media):
            return self._media[number - 1], None
        return None, self._calls[number - len(self._media) - 1].order

    def _due(self, events: Sequence[ParserEvent]) -> int:
        """How many of the calls have their place here, behind the token of which `events` were made."""
        match self._settings.splice:
            case "wait":
                return len(self._calls)
            case "deferred":
                if any(isinstance(event, MetaResponse) for event in events):
                    self._begin_segment()  # its medium can be named from here on
                return self._places.read(events, settled=self._parser.settled)
            case "none":
                return 0

    def _settle_all(self) -> Iterator[Event | Need]:
        self._places.end()
        yield from self._settle(len(self._calls))

    def _settle(self, count: int) -> Iterator[Event | Need]:
        """Wait for the oldest `count` calls, in order, and splice what they made."""
        for _ in range(count):
            call = self._calls[0]
            yield MediumNeeded(call.order)
            for step, steps in call.order.events():
                yield GenerationProgress(call.index, step, steps)
            yield from self._collect(call)
        if count and self._splices:
            self._begin_segment()

    def _collect(self, call: _Call) -> Iterator[Event | Need]:
        """Put what a finished call made, or why it made nothing, in its place."""
        try:
            medium = call.order.result()
            embedding = None
            if self._splices:
                yield EmbeddingsNeeded([medium])
                embedding = self._owner.embeddings.media([medium])[0]
        except ModaVerseError as error:
            failed = GenerationFailed(call.index, error.message, error.hint or _HINT)
            self._put(call, failed)
            self._splice_note(error.message)
            yield failed
            return
        self._put(call, medium)
        self._media.append(medium)
        number = len(self._media)
        if embedding is not None:
            self._splice(number, medium, embedding)
        yield MediaReady(call.index, number, medium, call.order.choice)

    def _put(self, call: _Call, part: Media | GenerationFailed) -> None:
        """Note `part` where it is spliced, or else where it belongs: behind its meta-response."""
        self._calls.remove(call)
        if self._splices:
            self._parts.append(part)
            return
        self._parts.insert(call.part + 1, part)
        for later in self._calls:
            later.part += later.part > call.part

    def _splice(self, number: int, medium: Media, embedding: torch.Tensor) -> None:
        try:
            self._transcript.add_media(number, medium.modality, embedding)
        except ContextOverflow:
            self._left = 0  # the medium is made and stays; there is no room to go on

    def _splice_note(self, cause: str) -> None:
        """Tell the LLM what went wrong, in the place where the medium would stand."""
        if not self._splices:
            return
        try:
            self._transcript.add_note(cause)
        except ContextOverflow:
            self._left = 0


def joined(parts: Sequence[Part]) -> list[Part]:
    """The parts with neighbouring text as one."""
    whole: list[Part] = []
    for part in parts:
        last = whole[-1] if whole else None
        if isinstance(part, Text) and isinstance(last, Text):
            whole[-1] = Text(last.text + part.text)
        else:
            whole.append(part)
    return whole
