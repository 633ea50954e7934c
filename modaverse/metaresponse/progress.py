"""Where in a call the bytes of an answer stand, so that a budget of tokens can be kept."""

from __future__ import annotations

import codecs
import re
from collections.abc import Collection
from enum import Enum, auto

_QUOTE, _ESCAPE = ord('"'), ord("\\")

_WHITE = [chr(code).encode() for code in range(0x3001) if chr(code).isspace()]
BLANK = rb"(?:\\[nrtf]|" + rb"|".join(map(re.escape, _WHITE)) + rb")"
"""One character of white space in a JSON string, for patterns over its bytes."""


class Stage(Enum):
    """Parts of an answer, in the order in which a call goes through them."""

    TEXT = auto()
    HEAD = auto()  # from the opening marker to the quote that opens the input
    INPUT = auto()
    TAIL = auto()  # from the quote that closes the input to the end of the closing marker


class Progress:
    """Follows an answer of which every call is known to be well formed, as the token mask makes it.

    `opener` and `closer` are the spelled markers, None for one that is a single token and comes by `mark`;
    `heads` are the texts that can stand before an input.
    """

    __slots__ = ("_closer", "_heads", "_left", "_opener", "_quoted", "_seen", "escaped", "fresh", "stage")

    def __init__(self, opener: bytes | None, closer: bytes | None, heads: Collection[bytes]) -> None:
        self.stage = Stage.TEXT
        self.fresh = False  # in an input whose first character is not complete
        self.escaped = False  # in a string, after a backslash that escapes what follows
        self._opener, self._closer, self._heads = opener, closer, heads
        self._seen = b""  # in text what could become a marker, in a head all of it, in an input its beginning
        self._quoted = False
        self._left = 0  # bytes of a spelled closing marker that are still to come

    def mark(self) -> None:
        """A marker that is a single token: it opens a call in text, and closes one elsewhere."""
        self._enter(Stage.HEAD if self.stage is Stage.TEXT else Stage.TEXT)

    def feed(self, data: bytes) -> None:
        """Text of any token that is no marker."""
        if self.stage is Stage.TEXT:
            data = self._feed_text(data)
        for byte in data:
            self._feed_call(byte)

    @property
    def begun(self) -> int:
        """In text: how many of the last bytes begin the spelled marker."""
        opener = self._opener or b""
        return next((n for n in range(len(opener) - 1, 0, -1) if self._seen.endswith(opener[:n])), 0)

    def pending(self) -> bytes:
        """In text: the bytes at its end that are no whole character yet, or begin the marker."""
        _, whole = codecs.utf_8_decode(self._seen, "ignore", False)
        return self._seen[min(whole, len(self._seen) - self.begun) :]

    def begins_blank(self, byte: int) -> bool:
        """Whether a fresh input with `byte` added begins with white space."""
        return bool(re.match(BLANK, self._seen + bytes((byte,))))

    @property
    def torn(self) -> bool:
        """Whether a fresh input ends within its first character."""
        return self.fresh and bool(self._seen)

    def _enter(self, stage: Stage) -> None:
        self.stage, self._seen, self._quoted, self.escaped = stage, b"", False, False

    def _feed_text(self, data: bytes) -> bytes:
        """Look for the spelled marker; what follows it in `data`."""
        if self._opener is None:
            return b""
        seen = self._seen + data
        at = seen.find(self._opener)
        if at >= 0:
            self._enter(Stage.HEAD)
            return seen[at + len(self._opener) :]
        self._seen = seen[-max(len(self._opener) - 1, 3) :]
        return b""

    def _feed_call(self, byte: int) -> None:
        if self.stage is Stage.TEXT:  # text that follows a closing marker within one token
            self._feed_text(bytes((byte,)))
        elif self.stage is Stage.HEAD:
            self._seen = (self._seen + bytes((byte,))).lstrip()
            if self._seen in self._heads:
                self._enter(Stage.INPUT)
                self._quoted = self.fresh = True
        elif self.fresh:
            self._feed_first(byte)
        elif self._left:
            self._left -= 1
            if not self._left:
                self._enter(Stage.TEXT)
        elif not self._quoted and self._closer is not None and byte == self._closer[0]:
            self._left = len(self._closer) - 1  # outside of strings JSON has no such byte
        elif self.escaped:
            self.escaped = False
        elif byte == _ESCAPE:
            self.escaped = True
        elif byte == _QUOTE:
            self._quoted = not self._quoted
            if self.stage is Stage.INPUT:
                self.stage = Stage.TAIL

    def _feed_first(self, byte: int) -> None:
        self._seen += bytes((byte,))
        if self._seen[0] == _ESCAPE:
            self.fresh = self.escaped = len(self._seen) < 2
        else:
            self.fresh = not self._seen.decode("utf-8", "ignore")
