"""Rows laid out as decoding splices with `splice = "deferred"`, so that an LLM learns what it will meet.

Whoever writes a row tells its text and calls to an `AnswerLayout` and learns where media come: a row cannot
choose that, since in decoding the tokens decide (`modaverse.splicing`).

    layout = Layout(tokenizer, after=8).answer()
    layout.call(CallPart("T-to-I", "a red cat"))
    list(layout.text(" One moment. It is on its way. There it is."))
        [(" One moment. It is on its way.", 1), (" There it is.", 0)]
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from modaverse.context import MetaResponse, TextDelta
from modaverse.language.plain import encode_plain, plain_tokenizer
from modaverse.language.prompt import write_call
from modaverse.metaresponse.vocabulary import IdReader, Vocabulary
from modaverse.settings import TranscriptSettings
from modaverse.splicing import SplicePlaces
from modaverse.training.rows import CallPart

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerBase


class Layout:
    """Of the answers of one LLM, known by its tokenizer, in which media come `after` tokens at the least."""

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        *,
        after: int,
        settings: TranscriptSettings = TranscriptSettings(),  # noqa: B008 - frozen
    ) -> None:
        self.after = after
        self._plain = plain_tokenizer(tokenizer, settings.markers)
        self._vocabulary = Vocabulary.from_tokenizer(tokenizer)

    def answer(self) -> AnswerLayout:
        """For one answer, from its beginning."""
        return AnswerLayout(self._plain, self._vocabulary, SplicePlaces(self.after))


class AnswerLayout:
    """Where the media of one answer come. Made by `Layout.answer`."""

    def __init__(self, plain: Tokenizer, vocabulary: Vocabulary, places: SplicePlaces) -> None:
        self._plain = plain
        self._places = places
        self._reader = IdReader(vocabulary, ())

    def text(self, text: str) -> Iterator[tuple[str, int]]:
        """`text`, cut where media come: each run, and how many calls, oldest first, get theirs behind it."""
        run = ""
        for token in encode_plain(self._plain, text):
            said = "".join(str(piece) for piece in self._reader.read((token,)))
            run += said
            due = self._places.read([TextDelta(said)], settled=self._reader.settled)
            if due:
                yield run, due
                run = ""
        if run:
            yield run, 0

    def call(self, call: CallPart) -> None:
        """A call was written. Its markers are a token each."""
        written = MetaResponse(call.model, call.input, call.options, call.source)
        for _ in range(1 + len(encode_plain(self._plain, write_call(written)))):
            self._places.read((), settled=False)
        self._places.read([written], settled=True)

    def end(self) -> int:
        """The answer could end here: how many calls are answered, before it ends or goes on."""
        return self._places.end()
