"""Where a medium that is still in the making enters an answer (`splice = "deferred"`).

A call's place is the end of the next sentence once `after` tokens have been sampled since the call closed,
or else the end of the answer. It depends on the sampled tokens alone, never on time: whoever comes first, the
LLM or the generator, waits there for the other. Decoding and the layout of training rows find it with the
same `SplicePlaces`.

    A cat: <meta>…</meta> I am working on it. That takes a moment. ‖ <media>1: ▪▪▪▪</media> ‖ It is red.
                        └──────────── after = 8 tokens ─┘         └ the next end of a sentence

A sentence ends where the text does that is certain not to be a call: with `.` `!` `?` `…` or what stands for
them in other scripts, quotes and brackets that close behind it, or a line's end. A full stop behind a digit
or a single letter ends nothing (3.14, e.g.). No place lies inside a meta-response, and what was written
before a call is no sentence behind it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from modaverse.context import Malformed, MetaResponse, ParserEvent, TextDelta

AFTER = 32
"""Tokens that an LLM may write on by itself, where nothing else is said."""

_TAIL = 40  # characters of text that are looked at

_WORD = re.compile(r"\w")
_END = re.compile(
    r"""(?: [!?…。！？｡؟।] | (?<!\d)(?<!\b\w)\. ) ["'”’»›)\]}*_]* \s* \Z
      | \n\s* \Z""",
    re.VERBOSE,
)


def ends_sentence(text: str) -> bool:
    """Whether `text` ends where a sentence does; without a word there is none."""
    text = text[-_TAIL:]
    return _END.search(text) is not None and _WORD.search(text) is not None


class SplicePlaces:
    """Follows one answer token by token, and says which calls have reached their place.

    Args:
        after: tokens that are sampled behind a call, at the least, before its medium is spliced.
    """

    def __init__(self, after: int) -> None:
        self._after = after
        self._sampled = 0
        self._tail = ""  # of the text since the last call
        self._waiting: list[int] = []  # for each call without a medium: the tokens sampled when it closed

    def read(self, events: Iterable[ParserEvent], *, settled: bool) -> int:
        """One more token was sampled, and the parser made `events` of it; how many calls, oldest first, have
        their place right behind it.

        `settled`: all that was sampled has become events, so that neither a call nor a character is cut.
        """
        self._sampled += 1
        for event in events:
            match event:
                case TextDelta(text=text):
                    self._tail = (self._tail + text)[-_TAIL:]
                case MetaResponse():
                    self._waiting.append(self._sampled)
                    self._tail = ""
                case Malformed():
                    self._tail = ""
        due = sum(self._sampled - closed >= self._after for closed in self._waiting)
        if not due or not settled or not ends_sentence(self._tail):
            return 0
        del self._waiting[:due]
        return due

    def end(self) -> int:
        """The answer is at its end, and so is the place of every call that has not reached one."""
        due = len(self._waiting)
        self._waiting.clear()
        return due
