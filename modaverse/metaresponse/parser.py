"""The stream parser: text and meta-responses out of what an LLM is still writing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from modaverse.context import Malformed, MetaResponse, MetaResponseOpened, Modality, ParserEvent, TextDelta
from modaverse.errors import InputError
from modaverse.metaresponse import faults
from modaverse.metaresponse.automaton import State
from modaverse.metaresponse.call import Call
from modaverse.metaresponse.catalogue import Catalogue, Limits
from modaverse.metaresponse.checks import Checker
from modaverse.metaresponse.faults import Refused
from modaverse.metaresponse.grammar import Lexicon, load_dialect
from modaverse.metaresponse.vocabulary import IdReader, Vocabulary


class StreamParser:
    """Reads one answer while it is being written, and says at once what is certain.

    There are two readings: `feed` takes spelled markers as markers, `feed_ids` only the tokens that are
    markers (where the vocabulary has them), so that an LLM that spells `<meta>` letter by letter writes
    plain text. One parser is used for one of them. Neither depends on how its input is cut, and the work is
    linear: no character is lexed or parsed twice.

    `"".join(event.raw for event in events)` is always the whole input. Nothing that an LLM writes raises.

    Args:
        grammar: the name of a dialect that is shipped, or the path of a `.lark` file, its table beside it.
        vocabulary: the tokens of the LLM; needed for `feed_ids`.
        catalogue: what may be called; None lets every name pass.
        sources: the media in the context, number → modality; None lets every number pass.
        limits: bounds on calls.

    Raises:
        GrammarError: the grammar or its table does not hold together.
    """

    def __init__(
        self,
        grammar: str | Path = "meta_response",
        *,
        vocabulary: Vocabulary | None = None,
        catalogue: Catalogue | None = None,
        sources: Mapping[int, Modality] | None = None,
        limits: Limits = Limits(),  # noqa: B008 - frozen
    ) -> None:
        self._dialect = load_dialect(grammar)
        self._vocabulary, self._limits = vocabulary, limits
        self._catalogue = catalogue
        self._checker = Checker(self._dialect, catalogue, limits)
        self._sources = None if sources is None and catalogue is None else dict(sources or {})
        self._reading = ""  # how input has been given: "" (not yet), "text", "ids", "closed"
        self._lexicon: Lexicon
        self._ids: IdReader
        self._text: State  # where the search for a marker stands, in text
        self._held = ""  # the end of the text so far, as long as it can become a marker
        self._call: Call | None = None
        self._announced = 0  # how many of the models that the open call names have been
        self._calls = 0
        self._line, self._column = 1, 1  # of the first character that no event has yet

    def add_source(self, number: int, modality: Modality) -> None:
        """A medium has come into the context; calls may name it from now on."""
        self._sources = {**(self._sources or {}), number: modality}

    def set_sources(self, sources: Mapping[int, Modality]) -> None:
        """From now on these are the media that calls may name."""
        self._sources = dict(sources)

    @property
    def settled(self) -> bool:
        """Whether everything that was fed has become events: no call is open, no character incomplete."""
        return self._call is None and not self._held and (self._reading != "ids" or self._ids.settled)

    def feed(self, text: str) -> list[ParserEvent]:
        """Read text in which markers are spelled; what has become certain.

        Raises:
            InputError: the parser is closed, or reads ids.
        """
        if self._reading != "text":
            self._begin("text")
        events: list[ParserEvent] = []
        if self._call is None or not self._call.lengthen(text):
            self._read(text, events)
        return events

    def feed_ids(self, ids: Iterable[int]) -> list[ParserEvent]:
        """Read tokens, of which only those that are markers are markers; what has become certain.

        Raises:
            InputError: the parser is closed, reads text, or has no vocabulary.
        """
        if self._reading != "ids":
            self._begin("ids")
        events: list[ParserEvent] = []
        for piece in self._ids.read(ids):
            if isinstance(piece, str):
                self._read(piece, events)
            else:
                self._read_marker(piece, events)
        return events

    def close(self) -> list[ParserEvent]:
        """The answer is at its end: what was still uncertain. May be called again, and then has nothing."""
        events: list[ParserEvent] = []
        if self._reading == "ids":
            self._read(self._ids.close(), events)
        self._reading = "closed"
        if self._call is not None and self._dialect.open_ended:
            self._call.end(self._dialect.closer.terminal)
            self._follow(self._call, events)
        if self._call is not None:
            self._give_up(self._call, faults.UNFINISHED.reason, faults.UNFINISHED.hint, events)
        self._say(self._held, events)
        self._held = ""
        return events

    def _begin(self, reading: str) -> None:
        if self._reading:
            raise InputError(
                f"this parser {'is closed' if self._reading == 'closed' else f'reads {self._reading}'}",
                hint="Use one parser for each answer, and either feed or feed_ids.",
            )
        if reading == "ids":
            if self._vocabulary is None:
                raise InputError(
                    "ids mean nothing without a vocabulary", hint="Give StreamParser a Vocabulary."
                )
            self._lexicon = self._dialect.lexicon(self._vocabulary.added)
            self._ids = IdReader(self._vocabulary, self._lexicon.markers)
        else:
            self._lexicon = self._dialect.lexicon({})
        self._text, self._reading = self._lexicon.text, reading

    # ------------------------------------------------------------------------------------ reading

    def _read(self, text: str, events: list[ParserEvent]) -> None:
        pos = 0
        while pos < len(text):
            call = self._call
            if call is None:
                pos = self._read_text(text, pos, events)
            else:
                pos = call.read(text, pos)
                if call.news:
                    self._follow(call, events)

    def _read_text(self, text: str, pos: int, events: list[ParserEvent]) -> int:
        state, begin, end = self._text, pos, len(text)
        while pos < end:
            after = state[text[pos]]
            pos += 1
            if after is state:
                pos = state.skip(text, pos).end()  # type: ignore[misc]
                continue
            state = after  # type: ignore[assignment]  # every character is text
            if state.final is not None:
                run = self._held + text[begin:pos]
                self._say(run[: -state.hold], events)
                self._open(state.final, run[-state.hold :], events)
                return pos
        run = self._held + text[begin:] if self._held else text[begin:]
        safe = len(run) - state.hold
        self._say(run[:safe], events)
        self._held, self._text = run[safe:], state
        return end

    def _read_marker(self, token: int, events: list[ParserEvent]) -> None:
        """Read a token that is a marker: it opens or closes a call, or else is text."""
        spelled = self._lexicon.markers[token]
        if self._call is not None:
            call = self._call
            taken = call.read_marker(token, spelled)
            self._follow(call, events)
            if taken:
                return
        self._say(self._held, events)
        self._held, self._text = "", self._lexicon.text
        after = self._lexicon.text[token]
        if after is None or after.final is None:
            self._say(spelled, events)
        else:
            self._open(after.final, spelled, events)

    def _open(self, terminal: str, raw: str, events: list[ParserEvent]) -> None:
        self._held, self._announced = "", 0
        self._call = Call(self._lexicon, terminal, raw, self._limits.max_call_chars - len(raw))

    # ------------------------------------------------------------------------------------- events

    def _follow(self, call: Call, events: list[ParserEvent]) -> None:
        """Say what has become certain of the open call."""
        call.news = False
        for model in call.models[self._announced :]:
            self._announce(model, events)
        if call.broken:
            fault = faults.TOO_LONG if call.overlong else faults.UNEXPECTED
            reason = fault.reason.format(found=repr(call.found), limit=self._limits.max_call_chars)
            hint = fault.hint.format(expected=" ".join(call.expected))
            self._give_up(call, reason, hint, events, call.expected)
            self._read(call.rest, events)
        elif call.result is not None:
            self._finish(call.result, call.raw, events)

    def _announce(self, model: str, events: list[ParserEvent]) -> None:
        self._announced += 1
        model = self._dialect.models.get(model, model)
        known = bool(model) if self._catalogue is None else model in self._catalogue
        if known and self._calls < self._limits.max_calls:
            events.append(MetaResponseOpened(model))

    def _finish(self, result: Mapping[str, list[Any]], raw: str, events: list[ParserEvent]) -> None:
        """The call is complete as far as its syntax goes."""
        try:
            said = self._checker.check(result, self._sources, raw)
            calls = self._calls + sum(isinstance(event, MetaResponse) for event in said)
            if calls > self._limits.max_calls:
                raise Refused(faults.TOO_MANY, limit=self._limits.max_calls)
        except Refused as refused:
            line, column = self._line, self._column
            events.append(Malformed(raw, str(refused), refused.hint, line, column))
        else:
            if not self._announced:  # a key that is written with escapes shows only now that it is the name's
                calling = (event for event in said if isinstance(event, MetaResponse))
                events += [MetaResponseOpened(event.model) for event in calling]
            events += said
            self._calls = calls
        self._advance(raw)
        self._call, self._text = None, self._lexicon.text

    def _give_up(
        self, call: Call, reason: str, hint: str, events: list[ParserEvent], expected: tuple[str, ...] = ()
    ) -> None:
        """The call is none; the fault is at the character after it, which is text again."""
        raw = call.raw
        self._advance(raw)
        events.append(Malformed(raw, reason, hint, self._line, self._column, expected))
        self._call, self._text = None, self._lexicon.text

    def _say(self, text: str, events: list[ParserEvent]) -> None:
        if text:
            events.append(TextDelta(text))
            self._advance(text)

    def _advance(self, raw: str) -> None:
        lines = raw.count("\n")
        if lines:
            self._line += lines
            self._column = len(raw) - raw.rindex("\n")
        else:
            self._column += len(raw)
