"""The transcript, defined once: how a conversation becomes token ids and places for media.

Inference and training both write with `Script`, so that what the LLM meets while answering is what it
learnt from. A transcript is a list of spans:

    Tokens(ids, sampled)      ids that were given (a request, a splice), or that the LLM writes itself
    Slot(number, modality)    the k positions that a medium's projected embeddings take

`sampled` is the loss mask of training and the record of authorship in inference. Mini's form:

    <|user|>Draw what you hear.<media>1: ▪▪▪▪</media><|assistant|>Here it is: ⟪<meta>{…}</meta>⟫
    <media>2: ▪▪▪▪</media>⟪ That is a bell.<|end|>⟫          (⟪⟫: sampled, together with "Here it is: ")
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from modaverse.context import Context, GenerationFailed, Media, MetaResponse, Modality, Part, Role, Text
from modaverse.errors import SettingsError
from modaverse.language.plain import encode_plain, plain_tokenizer, special_tokens
from modaverse.settings import TranscriptSettings

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

MAX_NOTE_CHARS = 200
"""A note about a failure is cut here: causes can be pages long, and the context is not."""


@dataclass(frozen=True, slots=True)
class Tokens:
    """A run of token ids; `sampled` ones are the LLM's own, and the only ones that carry loss."""

    ids: tuple[int, ...]
    sampled: bool = False


@dataclass(frozen=True, slots=True)
class Slot:
    """The place of medium `number`: as many positions as the projector makes embeddings."""

    number: int
    modality: Modality


Span = Tokens | Slot


def write_call(call: MetaResponse) -> str:
    """The body of a meta-response between its markers, in the one spelling that training teaches."""
    fields: dict[str, object] = {"Model": call.model, "Input": call.input}
    if call.options:
        fields["Options"] = dict(call.options)
    if call.source is not None:
        fields["Source"] = call.source
    return json.dumps(fields, ensure_ascii=False)


class Script:
    """Writes the parts of a conversation as spans, for one tokenizer and one turn scheme.

    Raises:
        SettingsError: the tokenizer lacks a marker, or an end of answer is not one token.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        settings: TranscriptSettings,
        *,
        write: Callable[[MetaResponse], str] = write_call,
    ) -> None:
        self.settings = settings
        self._tokenizer = tokenizer
        self._plain = plain_tokenizer(tokenizer, settings.markers)
        self._write = write
        self._meta_open, self._meta_close, self._media_open, self._media_close = (
            (self._token(marker),) if marker else ()
            for marker in (
                settings.meta_open, settings.meta_close, settings.media_open, settings.media_close
            )
        )  # fmt: skip
        self._start, self._user_start = map(self._template, (settings.start, settings.user_start))
        self._user_end, self._between = map(self._continued, (settings.user_end, settings.between))
        self.start_length, self.between_length = len(self._start), len(self._between)
        self.end = self._token(settings.assistant_end)
        self.ends = frozenset((self.end, *map(self._token, settings.stop)))
        control = {*special_tokens(tokenizer).values(), *self._media_open, *self._media_close}
        self.never_sampled = frozenset(control - self.ends - {*self._meta_open, *self._meta_close})
        """Control tokens that no answer may contain: `<media>`, those of the user's turn, padding."""

    # ------------------------------------------------------------------------------------ pieces

    def user_start(self, *, first: bool) -> list[Span]:
        return [Tokens((self._start if first else self._between) + self._user_start)]

    def user_end(self) -> list[Span]:
        """Close the user's turn and open the assistant's."""
        return [Tokens(self._user_end)]

    def assistant_end(self, *, sampled: bool = False) -> list[Span]:
        return [Tokens((self.end,), sampled)]

    def text(self, text: str, *, sampled: bool = False) -> list[Span]:
        """Text that never becomes a control token of any kind, whoever wrote it."""
        return [Tokens(tuple(encode_plain(self._plain, text)), sampled)] if text else []

    def media(self, number: int, modality: Modality) -> list[Span]:
        label = encode_plain(self._plain, self.settings.media_label.format(number=number))
        return [
            Tokens((*self._media_open, *label)),
            Slot(number, modality),
            Tokens(self._media_close),
        ]

    def note(self, cause: str) -> list[Span]:
        """What stands in the place of a medium that could not be made. It uses up no number."""
        cause = " ".join(cause.split())[:MAX_NOTE_CHARS]
        body = encode_plain(self._plain, f"failed: {cause}")
        return [Tokens((*self._media_open, *body, *self._media_close))]

    def call(self, call: MetaResponse, *, sampled: bool = False) -> list[Span]:
        body = encode_plain(self._plain, self._write(call))
        return [Tokens((*self._meta_open, *body, *self._meta_close), sampled)]

    # --------------------------------------------------------------------------- whole conversations

    def context(self, context: Context) -> list[Span]:
        """A whole conversation as training reads it: the assistant's text and calls are `sampled`, the
        media in its turns are splices. Adjacent runs of one kind are joined.
        """
        spans: list[Span] = []
        number = 0
        for index, turn in enumerate(context.turns):
            own = turn.role is Role.ASSISTANT
            if not own:
                spans += self.user_start(first=index == 0)
            for part in turn.parts:
                number += isinstance(part, Media)
                spans += self._part(part, number, own)
            spans += self.assistant_end(sampled=True) if own else self.user_end()
        return join(spans)

    def _part(self, part: Part, number: int, own: bool) -> list[Span]:
        if isinstance(part, Text):
            return self.text(part.text, sampled=own)
        if isinstance(part, Media):
            return self.media(number, part.modality)
        if isinstance(part, GenerationFailed):
            return self.note(part.cause)
        return self.call(part, sampled=own)

    # ----------------------------------------------------------------------------------- tokenizer

    def _template(self, text: str) -> tuple[int, ...]:
        return tuple(self._tokenizer(text, add_special_tokens=False)["input_ids"]) if text else ()

    def _continued(self, text: str) -> tuple[int, ...]:
        """`text` as it stands behind other text: SentencePiece puts a space before what it takes for a
        beginning.
        """
        before, both = self._template("x"), self._template("x" + text)
        return both[len(before) :] if both[: len(before)] == before else self._template(text)

    def _token(self, text: str) -> int:
        ids = self._template(text)
        if len(ids) != 1 and text in self._tokenizer.get_vocab():
            return int(self._tokenizer.get_vocab()[text])  # a piece that no text becomes by itself
        if len(ids) != 1:
            raise SettingsError(
                f"{text!r} must be one token of the LLM's tokenizer and is {len(ids)}",
                hint="Correct the transcript settings of the profile, or add the token to the tokenizer.",
            )
        return ids[0]


def join(spans: Iterable[Span]) -> list[Span]:
    """Join neighbouring runs of tokens that are both given or both sampled."""
    joined: list[Span] = []
    for span in spans:
        last = joined[-1] if joined else None
        if isinstance(span, Tokens) and isinstance(last, Tokens) and span.sampled == last.sampled:
            joined[-1] = Tokens(last.ids + span.ids, span.sampled)
        else:
            joined.append(span)
    return joined
