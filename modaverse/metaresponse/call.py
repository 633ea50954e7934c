"""One call while it is being written: characters → terminals → lark's interactive LALR parser."""

from __future__ import annotations

from typing import Any

from lark.exceptions import UnexpectedToken

from modaverse.metaresponse.automaton import State
from modaverse.metaresponse.grammar import Lexicon
from modaverse.metaresponse.values import Terminal

_MOST_PIECES = 512  # small ones that are kept apart: each takes many times the memory of its text


class Call:
    """Reads until the call is complete (`result`) or cannot be one (`broken`), and no character further.

    `opener` is the terminal that opened it, `raw` its text; `room` is how many more characters it may have.
    """

    __slots__ = ("_done", "_folded", "_lexicon", "_parser", "_pieces", "_room", "_state",
                 "broken", "expected", "found", "models", "news", "overlong", "rest", "result")  # fmt: skip

    def __init__(self, lexicon: Lexicon, opener: str, raw: str, room: int) -> None:
        self.news = False  # there is more to say than before
        self.models: list[str] = []  # each as soon as it is known
        self.result: dict[str, list[Any]] | None = None
        self.broken = False
        self.overlong = False
        self.expected: tuple[str, ...] = ()
        self.found = ""  # what broke it
        self.rest = ""  # read already, but not part of the call: it is text again
        self._lexicon = lexicon
        self._parser = lexicon.parser()
        self._done: list[str] = []
        self._pieces: list[str] = []  # of the terminal that is being read
        self._folded = 0  # how many of the pieces are joined from smaller ones
        self._room = room
        self._state: State | None = self._shift(opener, raw)

    @property
    def raw(self) -> str:
        """Everything that belongs to the call so far."""
        return "".join(self._done) + "".join(self._pieces)

    def lengthen(self, text: str) -> bool:
        """Take `text` if all of it only makes the terminal longer that is being read, as in a long string."""
        state = self._state
        if state is None or state.skip is None or len(text) > self._room:
            return False
        if state.skip(text).end() < len(text):
            return False
        self._room -= len(text)
        self._keep(text)
        return True

    def read(self, text: str, pos: int) -> int:
        """Take what belongs to the call from `text[pos:]`; the position after it."""
        state, begin, first = self._state, pos, pos
        room, end = self._room, len(text)
        if end - pos > room:
            end = pos + room
        while pos < end and state is not None:
            after = state[text[pos]]
            if after is None:
                if state.final is None:
                    self._break(state, text[pos], fresh=pos == begin and not self._pieces)
                    self._keep(text[begin:pos])
                    return pos
                state, begin = self._shift(state.final, text[begin:pos]), pos
            else:
                pos += 1
                if after is state:
                    pos = state.skip(text, pos, end).end()  # type: ignore[misc]
                elif after.complete:
                    state, begin = self._shift(after.final, text[begin:pos]), pos
                else:
                    state = after
        self._room = room - (pos - first)
        if state is not None:
            self._state = state
            if begin < pos:
                self._keep(text[begin:pos])
            if pos < len(text):
                self.news = self.broken = self.overlong = True
        return pos

    def read_marker(self, token: int, text: str) -> bool:
        """Take a token that is a marker; False where it does not belong to the call."""
        state = self._state
        if state is not None and state[token] is None and state.final is not None:
            state = self._shift(state.final, "")
        if state is None:
            return False
        after = state[token]
        if after is None:
            self._break(state, text, fresh=not self._pieces)
            return False
        if len(text) > self._room:
            self.news = self.broken = self.overlong = True
            return False
        self._room -= len(text)
        self._state = self._shift(after.final, text)
        self.rest = ""  # a marker that does not belong here is read again as the token that it is
        return not self.broken

    def end(self, closer: str) -> None:
        """The answer ends, and with it the call: `closer` is the terminal that it lacks."""
        state = self._state
        if state is not None and state.final is not None:
            state = self._shift(state.final, "")
        if state is not None and not self._pieces and closer in self._parser.accepts():
            self._shift(closer, "")

    def _shift(self, terminal: str | None, tail: str) -> State | None:
        """Give the terminal that ends with `tail` to the LALR parser.

        The state before the next terminal, or None: the call is complete, or the parser did not take this
        one, which then lies in `rest`.
        """
        value = tail
        if self._pieces:
            value = "".join((*self._pieces, tail))
            self._pieces.clear()
            self._folded = 0
        parser = self._parser
        try:
            parser.feed_token(Terminal(terminal, value))  # type: ignore[arg-type]  # a final state has one
        except UnexpectedToken:
            # LALR tables merge states: only here it shows that this terminal does not follow in this place.
            self.rest = value
            self._break(None, value[0], fresh=True)
            return None
        self._done.append(value)
        context = self._lexicon.contexts[parser.parser_state.position]
        if context.names_model:
            self.news = True
            name = parser.parser_state.value_stack[-1]
            self.models.append(name.value.strip() if isinstance(name, Terminal) else name)
        if context.scanner is None:
            self.news, self.result = True, parser.feed_eof()
        return context.scanner

    def _keep(self, piece: str) -> None:
        pieces = self._pieces
        pieces.append(piece)
        if len(pieces) - self._folded > _MOST_PIECES:
            pieces[self._folded :] = ["".join(pieces[self._folded :])]
            self._folded += 1

    def _break(self, state: State | None, found: str, *, fresh: bool) -> None:
        """`found` cannot follow: what could, the parser knows before a terminal (`fresh`), else its state."""
        self.news, self.broken, self.found = True, True, found
        could = self._parser.accepts() if fresh or state is None else state.alive
        self.expected = self._lexicon.spell(sorted(could))
