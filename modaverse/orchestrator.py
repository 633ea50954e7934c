"""The loop: an answer is written, read, dispatched and spliced at the same time.

    request ─► transcript ─► token ─► parser ─┬─ text ─────────────────────────────► event
                   ▲                          ├─ opened ──► pool.preload
                   │                          └─ complete ─► pool.submit ─► progress, medium ─► events
                   └── encoder ◄── medium ◄──────────────────────────────────────────┘

It knows protocols only (`modaverse.interfaces`). `modaverse.answer` has the loop itself; this is what all
answers share, and who keeps a conversation whole: an answer is all or nothing. If its stream is closed early
or fails, generators are cancelled and the conversation is as it was before the request.

The same request and seed give the same events in the same order, however long a generator takes: a call's
progress comes in one run, directly before its medium, and both at the call's place in the answer.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing
from typing import TYPE_CHECKING

from modaverse.answer import Answer, AnswerSettings, Conversation, Overflow, Splice
from modaverse.context import Context, Event, Media, Modality, Text
from modaverse.embeddings import Embeddings
from modaverse.errors import InputError
from modaverse.interfaces import Encoder, LanguageModel, Mask, Need, Pool, Sampling
from modaverse.metaresponse import Catalogue, Limits, StreamParser, Vocabulary
from modaverse.ordering import Choosing, call_seed

if TYPE_CHECKING:
    import torch

__all__ = [
    "AnswerSettings",
    "Choosing",
    "Conversation",
    "Orchestrator",
    "Overflow",
    "Splice",
    "call_seed",
]


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
        self.limits = limits
        self.embeddings = Embeddings(encoder)
        self.encoder = encoder
        self.vocabulary = vocabulary
        self._grammar = grammar
        self._catalogue = Catalogue(pool.catalogue.values())

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
            InputError: the conversation is still being answered, or media are to be compared with their
                prompts by an encoder that reads no text.
            MediaError: a medium of the request cannot be decoded.
            ContextOverflow: the request does not fit into what is left of the LLM's context.
        """
        with closing(self.steps(conversation, parts, settings)) as steps:
            for step in steps:
                if not isinstance(step, Need):
                    yield step

    def steps(
        self, conversation: Conversation, parts: Sequence[Text | Media], settings: AnswerSettings
    ) -> Generator[Event | Need]:
        """`stream`, which also says what it needs before it does it: for whoever drives many at once."""
        if conversation.busy:
            raise InputError(
                "This chat is still answering another request",
                hint="Read that stream to its end, or close it, before the next request.",
            )
        answer = Answer(self, conversation, parts, settings)
        conversation.busy = True
        try:
            yield from answer.steps()
            conversation.context = answer.context()
        except BaseException:
            answer.undo()
            raise
        finally:
            conversation.busy = False
        yield answer.done()

    def parser(self, sources: dict[int, Modality]) -> StreamParser:
        """A parser of what this LLM writes, where calls can name these media."""
        return StreamParser(
            self._grammar,
            vocabulary=self.vocabulary,
            catalogue=self._catalogue,
            sources=sources,
            limits=self.limits,
        )

    def features(self, context: Context) -> dict[int, torch.Tensor]:
        """The embedding of each medium of a conversation, by number."""
        return dict(enumerate(self.embeddings.media(context.media), start=1))
