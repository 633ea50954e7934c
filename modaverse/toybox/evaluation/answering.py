"""Answers to many requests at once, for measuring: the loop of `modaverse.orchestrator`, row by row in step.

    all rows: read what is new, sample until a call is complete or the answer ends ─► calls of all rows
        ▲                                                                              │ made together
        └─────────────── what was made is encoded together and spliced ◄───────────────┘

The transcript of each row, its parser and its seeds are those of the orchestrator, so a row's tokens are what
`ModaVerse.run` would give, up to rounding of sums in another order. After a splice a row is read anew: at
mini's size that costs less than keeping caches of rows that wait.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from modaverse.context import FinishReason, Malformed, Media, MetaResponse, Part, Text, TextDelta
from modaverse.errors import GenerationError
from modaverse.interfaces import Encoder, Mask, Matcher, Sampling
from modaverse.language.batch import Example, length
from modaverse.language.model import MultimodalLM
from modaverse.language.prompt import Span, Tokens
from modaverse.language.sampling import choose
from modaverse.media import write_media
from modaverse.metaresponse import Catalogue, Limits, StreamParser, Vocabulary
from modaverse.orchestrator import call_seed
from modaverse.toybox.evaluation.making import Made, Maker, Order

_SHRINK = 0.7  # rows that have ended leave the cache once so few are left


@dataclass(frozen=True, slots=True)
class Request:
    """One user's turn."""

    parts: tuple[Text | Media, ...]
    seed: int


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

    def answer(self, requests: Sequence[Request], maker: Maker) -> list[Answer]:
        """One answer a request, in order.

        Raises:
            MediaError: a medium of a request cannot be decoded.
        """
        rows = self._begin(requests)
        active = [row for row in rows if not row.over]
        while active:
            active.sort(key=lambda row: row.length)
            for start in range(0, len(active), self.batch):
                self._decode(active[start : start + self.batch])
            waiting = [row for row in active if row.orders]
            self._splice(waiting, maker)
            active = [row for row in waiting if not row.over]
        return [row.answer() for row in rows]

    def _begin(self, requests: Sequence[Request]) -> list[_Row]:
        media = [part for request in requests for part in request.parts if isinstance(part, Media)]
        embeddings = iter(self.encoder.encode(media))
        rows = []
        for index, request in enumerate(requests):
            row = _Row(self, index, request)
            for part in request.parts:
                row.give(part, next(embeddings) if isinstance(part, Media) else None)
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

    def _splice(self, rows: Sequence[_Row], maker: Maker) -> None:
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

    # ------------------------------------------------------------------------------------ decoding

    @torch.inference_mode()
    def _decode(self, rows: Sequence[_Row]) -> None:
        """Let each row write until it waits for a medium, or is at its end.

        Rows are padded at the end (b rows, s positions): a row's next token stands behind the padding in the
        cache, and its true position is told to the LLM.
        """
        from transformers import DynamicCache

        core = self.language.core
        device = self.language.device
        padded = self.language.collate([Example(row.spans, row.features) for row in rows])
        batch = {name: value.to(device) for name, value in padded.items()}  # type: ignore[attr-defined]
        cache = DynamicCache(config=core.config)
        mask = batch["attention_mask"]
        lengths = mask.sum(1)
        ends, which = torch.unique(lengths - 1, return_inverse=True)
        logits = core(
            inputs_embeds=self.language.embed(batch),
            attention_mask=mask,
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=ends,
        ).logits[torch.arange(len(rows), device=device), which]
        live = list(rows)  # row i of the cache is `live[i]`, whether or not it goes on
        while True:
            tokens = [row.write(logit) for row, logit in zip(live, self._allowed(logits), strict=True)]
            going = [place for place, row in enumerate(live) if row.going]
            if not going:
                return
            if len(going) <= _SHRINK * len(live):
                kept = torch.tensor(going, device=device)
                cache.batch_select_indices(kept)
                mask, lengths = mask[kept], lengths[kept]
                live, tokens = [live[i] for i in going], [tokens[i] for i in going]
            mask = torch.cat([mask, mask.new_ones(len(live), 1)], 1)
            logits = core(
                input_ids=torch.tensor(tokens, device=device)[:, None],
                attention_mask=mask,
                position_ids=lengths[:, None],
                past_key_values=cache,
                use_cache=True,
                logits_to_keep=1,
            ).logits[:, -1]
            lengths = lengths + 1

    def _allowed(self, logits: torch.Tensor) -> torch.Tensor:
        """(b, vocabulary) float32, -inf for tokens that no answer may contain."""
        return (logits.float() + self.language.token_bias).cpu()


def _written(made: Made, folder: Path) -> Media | GenerationError | None:
    return made if made is None or isinstance(made, GenerationError) else write_media(made, folder)


class _Row:
    """One answer in the making. `orders` are the calls it waits for; `over` once nothing may follow."""

    def __init__(self, owner: Answerer, index: int, request: Request) -> None:
        self._owner = owner
        self._script = owner.language.script
        self._index = index
        self._seed = request.seed
        self._parser = owner.parser()
        self._matcher: Matcher | None = None
        self._media: list[Media] = []
        self._parts: list[Part] = []
        self._made: list[Media | None] = []
        self._malformed: list[str] = []
        self._run: list[int] = []  # tokens sampled since the last span
        self._left = owner.sampling.max_new_tokens
        self._calls = 0
        self._finish = FinishReason.LENGTH
        self.spans: list[Span] = self._script.user_start(first=True)
        self.features: dict[int, torch.Tensor] = {}
        self.orders: list[Order] = []
        self.over = False

    @property
    def length(self) -> int:
        """Positions so far."""
        return length(self.spans, self._owner.language.config.projector.k) + len(self._run)

    @property
    def going(self) -> bool:
        return not self.over and not self.orders

    # -------------------------------------------------------------------------------------- giving

    def give(self, part: Text | Media, embedding: torch.Tensor | None) -> None:
        """A part of the request."""
        if isinstance(part, Text):
            self.spans += self._script.text(part.text)
        elif embedding is not None:
            self._add_medium(part, embedding)

    def ask(self) -> None:
        """The request is complete."""
        self.spans += self._script.user_end()
        self.begin()

    def begin(self) -> None:
        """After the request, and after splices: less room, perhaps more media to refer to."""
        room = self._owner.language.context_length - self.length
        self._left = min(self._left, room)
        if self._left <= 0:
            self._end()
        elif self._owner.mask is not None:
            sources = {number: medium.modality for number, medium in enumerate(self._media, start=1)}
            calls_left = self._owner.limits.max_calls - self._calls
            self._matcher = self._owner.mask.start(sources, self._left, calls_left=calls_left)

    def splice(self, result: Media | GenerationError | None, embedding: torch.Tensor | None) -> None:
        """What came of the oldest open call."""
        del self.orders[0]
        self._made.append(result if isinstance(result, Media) else None)
        if isinstance(result, Media) and embedding is not None:
            self._parts.append(result)
            self._add_medium(result, embedding)
        elif isinstance(result, GenerationError):
            self.spans += self._script.note(result.message)

    def _add_medium(self, medium: Media, embedding: torch.Tensor) -> None:
        self._media.append(medium)
        number = len(self._media)
        self.spans += self._script.media(number, medium.modality)
        self.features[number] = embedding
        self._parser.add_source(number, medium.modality)

    # ------------------------------------------------------------------------------------- writing

    def write(self, logits: torch.Tensor) -> int:
        """Sample the next token from `logits` (vocabulary,) and read it. Rows that wait sample nothing."""
        if not self.going:
            return self._script.end
        if self._matcher is not None:
            logits = self._matcher.allow(logits)
        token = choose(logits, self._owner.sampling, seed=self._seed, position=self.length)
        if self._matcher is not None:
            self._matcher.accept(token)
        self._run.append(token)
        self._left -= 1
        if token in self._script.ends:
            self._finish = FinishReason.STOP
            self._end()
            return token
        self._read(self._parser.feed_ids((token,)))
        if self.orders:
            self.spans.append(Tokens(tuple(self._run), sampled=True))
            self._run = []
        elif self._left <= 0:
            self._end()
        return token

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
        parts = tuple(_joined(self._parts))
        return Answer(parts, tuple(self._made), tuple(self._malformed), self._finish)


def _joined(parts: Sequence[Part]) -> Iterator[Part]:
    """The parts with neighbouring text as one."""
    text = ""
    for part in parts:
        if isinstance(part, Text):
            text += part.text
            continue
        if text:
            yield Text(text)
            text = ""
        yield part
    if text:
        yield Text(text)
