"""Answers to many requests at once, for measuring: the loop of `modaverse.orchestrator`, row by row in step.

    all rows: read what is new, sample until a call is complete or the answer ends ─► calls of all rows
        ▲                                                                              │ made together
        └─────────────── what was made is encoded together and spliced ◄───────────────┘

The transcript of each row, its parser and its seeds are those of the orchestrator, so a row's tokens are what
`ModaVerse.run` would give, up to rounding of sums in another order. After a splice a row is read anew: at
mini's size that costs less than keeping caches of all rows while their calls are made.

`many_answers.Together` does not serve here: a row of data may say nothing of what came of a call. Then
nothing is spliced, not even a note, and the row goes on at once, which no user's answer does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import torch

from modaverse.answer import joined
from modaverse.context import (
    FinishReason,
    GenerationFailed,
    Malformed,
    Media,
    MetaResponse,
    Part,
    Role,
    Text,
    TextDelta,
    Turn,
)
from modaverse.errors import ContextOverflow, GenerationError
from modaverse.interfaces import Encoder, Mask, Matcher, Sampling, TokenNeeded, Transcript
from modaverse.language.batched_decoding import BatchDecoder, SlotTranscript
from modaverse.language.model import MultimodalLM
from modaverse.media import write_media
from modaverse.metaresponse import Catalogue, Limits, StreamParser, Vocabulary
from modaverse.orchestrator import call_seed
from modaverse.toybox.evaluation.making import Made, Order


@dataclass(frozen=True, slots=True)
class Request:
    """One user's turn. `before` are the turns that came earlier, as they were."""

    parts: tuple[Text | Media, ...]
    seed: int
    before: tuple[Turn, ...] = ()

    @property
    def media(self) -> list[Media]:
        """Given and made, in order of appearance."""
        parts = (*(part for turn in self.before for part in turn.parts), *self.parts)
        return [part for part in parts if isinstance(part, Media)]


@dataclass(frozen=True, slots=True)
class Answer:
    """What the assistant said and made. `made` has one entry a call: None where nothing came of it."""

    parts: tuple[Part, ...]
    made: tuple[Media | None, ...]
    malformed: tuple[str, ...]
    finish: FinishReason

    @property
    def calls(self) -> tuple[MetaResponse, ...]:
        return tuple(part for part in self.parts if isinstance(part, MetaResponse))

    @property
    def text(self) -> str:
        return "".join(part.text for part in self.parts if isinstance(part, Text))

    @property
    def last_words(self) -> str:
        """The text after the last call: what is said about what was made."""
        last = max((i for i, part in enumerate(self.parts) if isinstance(part, MetaResponse)), default=-1)
        return "".join(part.text for part in self.parts[last + 1 :] if isinstance(part, Text))


class Answerer:
    """Answers batches of requests.

    Args:
        folder: where what is made is written.
        mask: keeps answers within the grammar; None for none.
        grammar, limits: of what the LLM writes, for the parser.
        batch: rows that are decoded together.
    """

    def __init__(
        self,
        language: MultimodalLM,
        encoder: Encoder,
        catalogue: Catalogue,
        folder: Path,
        *,
        sampling: Sampling,
        mask: Mask | None = None,
        grammar: str = "meta_response",
        limits: Limits = Limits(),  # noqa: B008 - frozen
        batch: int = 48,
    ) -> None:
        self.language = language
        self.encoder = encoder
        self.catalogue = catalogue
        self.folder = folder
        self.sampling = sampling
        self.mask = mask
        self.limits = limits
        self.batch = batch
        self._grammar = grammar
        script = language.script
        self._vocabulary = Vocabulary.from_tokenizer(language.tokenizer, ends=sorted(script.ends))

    def answer(
        self, requests: Sequence[Request], maker: Callable[[Sequence[Order]], Sequence[Made | Media]]
    ) -> list[Answer]:
        """One answer a request, in order. `maker` gives what comes of calls: decoded, or as a file.

        Raises:
            MediaError: a medium of a request cannot be decoded.
        """
        decoder = BatchDecoder(self.language, mask=self.mask)
        rows = self._begin(requests, decoder)
        active = [row for row in rows if not row.over]
        while active:
            active.sort(key=lambda row: len(row.transcript))
            for start in range(0, len(active), self.batch):
                _decode(decoder, active[start : start + self.batch])
            waiting = [row for row in active if row.orders]
            self._splice(waiting, maker)
            active = [row for row in waiting if not row.over]
        return [row.answer() for row in rows]

    def _begin(self, requests: Sequence[Request], decoder: BatchDecoder) -> list[_Row]:
        embeddings = iter(self.encoder.encode([medium for request in requests for medium in request.media]))
        rows = []
        for index, request in enumerate(requests):
            transcript = decoder.transcript(seed=request.seed, sampling=self.sampling)
            row = _Row(self, index, request, transcript)
            own = iter(list(islice(embeddings, len(request.media))))
            row.recall(request.before, own)
            for part in request.parts:
                row.give(part, next(own) if isinstance(part, Media) else None)
            row.ask()
            rows.append(row)
        return rows

    def parser(self) -> StreamParser:
        return StreamParser(
            self._grammar,
            vocabulary=self._vocabulary,
            catalogue=self.catalogue,
            sources={},
            limits=self.limits,
        )

    def _splice(
        self, rows: Sequence[_Row], maker: Callable[[Sequence[Order]], Sequence[Made | Media]]
    ) -> None:
        """Have all open calls answered, and put what was made behind them."""
        orders = [order for row in rows for order in row.orders]
        made = maker(orders) if orders else []
        media = [_written(one, self.folder) for one in made]
        files = [one for one in media if isinstance(one, Media)]
        embeddings = iter(self.encoder.encode(files))
        results = iter(media)
        for row in rows:
            for _ in range(len(row.orders)):
                result = next(results)
                row.splice(result, next(embeddings) if isinstance(result, Media) else None)
            row.begin()


def _decode(decoder: BatchDecoder, rows: Sequence[_Row]) -> None:
    """Let each row write until it waits for a medium, or is at its end."""
    going: dict[Transcript, _Row] = {row.transcript: row for row in rows}
    while going:
        for need in decoder.step([TokenNeeded(row.transcript, row.matcher) for row in going.values()]):
            row = going[need.transcript]
            row.write()
            if not row.going:
                del going[row.transcript]
                decoder.release(row.transcript)


def _written(made: Made | Media, folder: Path) -> Media | GenerationError | None:
    return made if made is None or isinstance(made, GenerationError | Media) else write_media(made, folder)


class _Row:
    """One answer in the making. `orders` are the calls it waits for; `over` once nothing may follow."""

    def __init__(self, owner: Answerer, index: int, request: Request, transcript: SlotTranscript) -> None:
        self._owner = owner
        self.transcript = transcript
        self._index = index
        self._seed = request.seed
        self._parser = owner.parser()
        self.matcher: Matcher | None = None
        self._media: list[Media] = []
        self._parts: list[Part] = []
        self._made: list[Media | None] = []
        self._malformed: list[str] = []
        self._left = owner.sampling.max_new_tokens
        self._calls = 0
        self._finish = FinishReason.LENGTH
        self.orders: list[Order] = []
        self.over = False

    @property
    def going(self) -> bool:
        return not self.over and not self.orders

    # -------------------------------------------------------------------------------------- giving

    def recall(self, turns: Sequence[Turn], embeddings: Iterator[torch.Tensor]) -> None:
        """What was said before the request; then the user's turn is opened."""
        script = self._owner.language.script
        with self._room():
            for turn in turns:
                if turn.role is Role.USER:
                    self.transcript.add_user_start()
                own = turn.role is Role.ASSISTANT
                for part in turn.parts:
                    match part:
                        case Media():
                            self._add_medium(part, next(embeddings))
                        case MetaResponse():
                            self.transcript.extend(script.call(part, sampled=own))
                        case Text(text=text):
                            self.transcript.extend(script.text(text, sampled=own))
                        case GenerationFailed(cause=cause):
                            self.transcript.add_note(cause)
                if turn.role is Role.USER:
                    self.transcript.add_user_end()
            self.transcript.add_user_start()

    def give(self, part: Text | Media, embedding: torch.Tensor | None) -> None:
        """A part of the request."""
        with self._room():
            if isinstance(part, Text):
                self.transcript.add_text(part.text)
            elif embedding is not None:
                self._add_medium(part, embedding)

    def ask(self) -> None:
        """The request is complete."""
        with self._room():
            self.transcript.add_user_end()
        self.begin()

    def begin(self) -> None:
        """After the request, and after splices: less room, perhaps more media to refer to."""
        room = self._owner.language.context_length - len(self.transcript)
        self._left = min(self._left, room)
        if self._left <= 0:
            self._end()
        elif self._owner.mask is not None:
            sources = {number: medium.modality for number, medium in enumerate(self._media, start=1)}
            calls_left = self._owner.limits.max_calls - self._calls
            self.matcher = self._owner.mask.start(sources, self._left, calls_left=calls_left)

    def splice(self, result: Media | GenerationError | None, embedding: torch.Tensor | None) -> None:
        """What came of the oldest open call."""
        del self.orders[0]
        self._made.append(result if isinstance(result, Media) else None)
        with self._room():
            if isinstance(result, Media) and embedding is not None:
                self._parts.append(result)
                self._add_medium(result, embedding)
            elif isinstance(result, GenerationError):
                self.transcript.add_note(result.message)

    @contextmanager
    def _room(self) -> Iterator[None]:
        """Where something does not fit into the LLM's context, the answer is at its end."""
        try:
            yield
        except ContextOverflow:
            self._left = 0

    def _add_medium(self, medium: Media, embedding: torch.Tensor) -> None:
        self._media.append(medium)
        number = len(self._media)
        self.transcript.add_media(number, medium.modality, embedding)
        self._parser.add_source(number, medium.modality)

    # ------------------------------------------------------------------------------------- writing

    def write(self) -> None:
        """Sample the next token and read it."""
        token = self.transcript.next_token(None if self.matcher is None else self.matcher.allow)
        if self.matcher is not None:
            self.matcher.accept(token)
        self._left -= 1
        if self.transcript.is_end(token):
            self._finish = FinishReason.STOP
            self._end()
            return
        self._read(self._parser.feed_ids((token,)))
        if not self.orders and self._left <= 0:
            self._end()

    def _end(self) -> None:
        self._read(self._parser.close())
        self.over = True

    def _read(self, events: Sequence[object]) -> None:
        for event in events:
            match event:
                case TextDelta(text=text):
                    self._parts.append(Text(text))
                case Malformed(raw=raw, reason=reason):
                    self._parts.append(Text(raw))
                    self._malformed.append(reason)
                case MetaResponse():
                    self._parts.append(event)
                    self.orders.append(self._order(event))

    def _order(self, response: MetaResponse) -> Order:
        self._calls += 1
        return Order(
            request=self._index,
            call=self._calls - 1,
            response=response,
            makes=self._owner.catalogue[response.model].makes,
            seed=call_seed(self._seed, self._calls - 1),
            source=None if response.source is None else self._media[response.source - 1],
        )

    def answer(self) -> Answer:
        parts = tuple(joined(self._parts))
        return Answer(parts, tuple(self._made), tuple(self._malformed), self._finish)
