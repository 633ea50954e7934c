"""What the stream parser says, and when."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence

import pytest

from modaverse.context import (
    Malformed,
    MetaResponse,
    MetaResponseOpened,
    Modality,
    ParserEvent,
    TextDelta,
)
from modaverse.errors import InputError
from modaverse.interfaces import CallSpec
from modaverse.metaresponse import Catalogue, Limits, StreamParser, Vocabulary

CALL = '<meta>{"Model": "T-to-I", "Input": "a brown dog"}</meta>'


def read(text: str, **arguments: object) -> list[ParserEvent]:
    parser = StreamParser(**arguments)  # type: ignore[arg-type]
    events = [*parser.feed(text), *parser.close()]
    assert "".join(event.raw for event in events) == text
    return events


def test_text_and_a_call() -> None:
    assert read(f"Here it is: {CALL} That is a dog.") == [
        TextDelta("Here it is: "),
        MetaResponseOpened("T-to-I"),
        MetaResponse("T-to-I", "a brown dog"),
        TextDelta(" That is a dog."),
    ]


def test_each_event_comes_with_the_character_that_makes_it_certain() -> None:
    parser = StreamParser()
    when = {}
    for index, char in enumerate(CALL):
        for event in parser.feed(char):
            when[type(event)] = CALL[: index + 1]
    assert when == {MetaResponseOpened: '<meta>{"Model": "T-to-I"', MetaResponse: CALL}


def test_text_is_held_back_only_while_it_can_become_a_marker() -> None:
    parser = StreamParser()
    assert parser.feed("a <me") == [TextDelta("a ")]
    assert parser.feed("t") == []
    assert parser.feed("<m") == [TextDelta("<met")]
    assert parser.feed("y") == [TextDelta("<my")]
    assert parser.feed("<") == []
    assert parser.close() == [TextDelta("<")]
    assert parser.close() == []


def test_every_field_is_read() -> None:
    text = (
        '<meta> { "Model" : "TI-to-I" , "Input":"\\u00e9 \\"x\\" \\ud83d\\ude00 </meta>",\n'
        '"Options": {"a": [1, -2.5e1, true, false, null, {"b": {}}], "c": "d"}, "Source": 3 } </meta>'
    )
    assert read(text) == [
        MetaResponseOpened("TI-to-I"),
        MetaResponse(
            "TI-to-I",
            'é "x" 😀 </meta>',
            {"a": [1, -25.0, True, False, None, {"b": {}}], "c": "d"},
            3,
        ),
    ]


def test_half_a_surrogate_pair_becomes_a_replacement_character() -> None:
    (_, call) = read('<meta>{"Model": "T-to-I", "Input": "a \\ud83d \ud83d z"}</meta>')
    assert isinstance(call, MetaResponse)
    assert call.input == "a \ufffd \ufffd z"
    call.input.encode()


def test_every_call_is_announced_even_if_its_key_is_disguised() -> None:
    """The name's key may be written with escapes: the generator then loads with the call, not before it."""
    text = CALL.replace("Model", "Mod\\u0065l")
    assert read(text) == [MetaResponseOpened("T-to-I"), MetaResponse("T-to-I", "a brown dog")]


@pytest.mark.parametrize(
    ("written", "value"),
    [("20.0", 20), ("2e1", 20), ("-0", 0), ("9007199254740992.0", 2**53), ("0.5", 0.5), ("1e300", 1e300)],
)
def test_a_whole_number_is_an_integer_however_it_is_written(written: str, value: float) -> None:
    """As for JSON Schema, which calls 20.0 an integer: a generator that counts steps cannot use a float."""
    call = read(f'<meta>{{"Model": "T-to-I", "Input": "a", "Options": {{"a": {written}}}}}</meta>')[-1]
    assert isinstance(call, MetaResponse)
    assert call.options == {"a": value}
    assert type(call.options["a"]) is type(value)


@pytest.mark.parametrize("delta", [1, 3, 700])
def test_a_string_of_very_many_pieces_is_put_together_again(delta: int) -> None:
    """With escapes and characters of all widths, read to its end and broken off."""
    written = "".join(f"{index} é日😀\\n" for index in range(900))
    for end in ('"}</meta>', "\n"):
        text = f'<meta>{{"Model": "T-to-I", "Input": "{written}{end}'
        parser = StreamParser()
        events = [event for at in range(0, len(text), delta) for event in parser.feed(text[at : at + delta])]
        assert [*events, *parser.close()] == read(text)
        assert "".join(event.raw for event in events) == text
        if end != "\n":
            assert events[-1] == MetaResponse("T-to-I", written.replace("\\n", "\n"))


@pytest.mark.parametrize(
    ("text", "raw"),
    [
        ("<meta>\ufeff{}", "<meta>"),
        ("<meta>\x00{}", "<meta>"),
        ('<meta>{"a": "\x00"}', '<meta>{"a": "'),
        ('<meta>{"a": "b\r\n"}', '<meta>{"a": "b'),
        ('<meta>{"a": "\\\x00', '<meta>{"a": "\\'),
        ('<meta>{"a": "\\u12\ud83d', '<meta>{"a": "\\u12'),
        ('<meta>{"a":\u00a01}', '<meta>{"a":'),
        ('<meta>{"a": 01}', '<meta>{"a": 0'),
        ('<meta>{"a": \u0661}', '<meta>{"a": '),
        ("<meta>{,}", "<meta>{"),
        ('<meta>{"a": 1,}', '<meta>{"a": 1,'),
        ("<meta>{}<meta>{}", "<meta>{}<"),
        ("<meta>{}</META>", "<meta>{}</"),
    ],
)
def test_odd_characters_offend_where_json_has_no_place_for_them(text: str, raw: str) -> None:
    """A mark of byte order, NUL, CR, half a surrogate pair, spaces and digits that are none to JSON."""
    broken = [event for event in read(text) if isinstance(event, Malformed)]
    assert broken[0].raw == raw
    assert broken[0].expected


def test_line_ends_of_every_kind_are_white_space() -> None:
    call = CALL.replace("{", "{\r\n\t").replace(": ", ":\r").replace("}", "\n}\r\n")
    assert read(f"\r\n{call}\r\n")[-2] == MetaResponse("T-to-I", "a brown dog")


def test_a_message_is_short_and_on_one_line_whatever_it_quotes(catalogue: Catalogue) -> None:
    """Keys and names come from the LLM, and messages go to a terminal."""
    odd = "\\u001b[31m\\n" + "x" * 100_000
    for call in (
        f'{{"Model": "{odd}", "Input": "a"}}',
        f'{{"Model": "T-to-I", "Input": "a", "{odd}": 1}}',
        f'{{"Model": "T-to-I", "Input": "a", "{odd}": 1, "{odd}": 1}}',
        f'{{"Model": "T-to-I", "Input": "a", "Options": {{"{odd}": 1}}}}',
        f'{{"Model": "T-to-I", "Input": "a", "Options": {{"style": "{odd}"}}}}',
        f'{{"Model": "T-to-I", "Input": "a", "Options": {{"a": {{"{odd}": 1, "{odd}": 1}}}}}}',
        '{"Model": "T-to-I", "Input": "a", "Options": {"a": %s}}' % ("9" * 1_000),
    ):
        malformed = read(f"<meta>{call}</meta>", catalogue=catalogue)[-1]
        assert isinstance(malformed, Malformed)
        assert malformed.reason.isprintable()
        assert len(malformed.reason) < 300


@pytest.mark.parametrize(
    ("text", "raw", "rest", "expected"),
    [
        ("<meta>hello", "<meta>", "hello", ("{",)),
        ('<meta>{"Model" "x"}</meta>', '<meta>{"Model" ', '"x"}</meta>', (":",)),
        ('<meta>{"a": "b\nc"}', '<meta>{"a": "b', '\nc"}', ("string",)),
        ('<meta>{"a": 1ex', '<meta>{"a": 1e', "x", ("number",)),
        ('<meta>{"a": trux', '<meta>{"a": tru', "x", ("true",)),
        ('<meta>{"a": {"b": 1}</meta>', '<meta>{"a": {"b": 1}', "</meta>", (",", "}")),
        ('<meta>{"a": [1}', '<meta>{"a": [1', "}", (",", "]")),
        ('<meta>{"a": "b"x', '<meta>{"a": "b"', "x", (",", "}")),
        ('<meta>{"a": 1}x', '<meta>{"a": 1}', "x", ("</meta>",)),
        ('<meta>{"a": 1}</mex', '<meta>{"a": 1}</me', "x", ("</meta>",)),
    ],
)
def test_a_syntactic_fault_ends_before_the_character_that_offends(
    text: str, raw: str, rest: str, expected: Sequence[str]
) -> None:
    malformed, after = read(text)
    assert isinstance(malformed, Malformed)
    assert (malformed.raw, malformed.expected) == (raw, expected)
    assert (malformed.line, malformed.column) == (1, len(raw) + 1)
    assert after == TextDelta(rest)
    parser = StreamParser()
    assert next(event for char in text for event in parser.feed(char)) == malformed


def test_what_offends_can_open_the_next_call() -> None:
    first, *others = read(f"<meta>{CALL}")
    assert first.raw == "<meta>"
    assert others == [MetaResponseOpened("T-to-I"), MetaResponse("T-to-I", "a brown dog")]


def test_faults_have_a_place() -> None:
    events = read(f'one\ntwo {CALL}\n<meta>{{"Model": "T-to-I",\n  5')
    assert isinstance(events[-2], Malformed)
    assert (events[-2].line, events[-2].column) == (4, 3)
    whole = read("a\nbc<meta>{}</meta>")[-1]
    assert isinstance(whole, Malformed)
    assert (whole.line, whole.column) == (2, 3)


def test_an_open_call_at_the_end_is_malformed() -> None:
    (malformed,) = read('<meta>{"Model": "T-')
    assert isinstance(malformed, Malformed)
    assert "ended inside a call" in malformed.reason


def test_stray_closing_markers_are_text() -> None:
    assert read("a </meta> b") == [TextDelta("a </meta> b")]


# ---------------------------------------------------------------------------------------- limits


def test_a_long_call_ends_at_the_limit() -> None:
    limits = Limits(max_call_chars=30)
    _, malformed, rest = read(CALL, limits=limits)
    assert isinstance(malformed, Malformed)
    assert "longer than 30" in malformed.reason
    assert (malformed.raw, rest) == (CALL[:30], TextDelta(CALL[30:]))
    assert isinstance(read(CALL, limits=Limits(max_call_chars=len(CALL)))[-1], MetaResponse)


def test_too_many_calls_are_refused_one_by_one() -> None:
    events = read(CALL * 3, limits=Limits(max_calls=2))
    assert [type(event) for event in events] == [MetaResponseOpened, MetaResponse] * 2 + [Malformed]


def test_deep_nesting_neither_recurses_nor_passes() -> None:
    deep = "[" * 5_000 + "]" * 5_000
    event = read(f'<meta>{{"Model": "T-to-I", "Input": "a", "Options": {{"a": {deep}}}}}</meta>')[-1]
    assert isinstance(event, Malformed)
    assert "deeper than" in event.reason


@pytest.mark.parametrize("digits", ["9" * 10_000, "9" * 309, "-" + "9" * 399, "1e309", "-9.9E+9999"])
def test_huge_numbers_do_not_raise(digits: str) -> None:
    """Integers beyond a double neither: a schema may divide them by one."""
    schema = {"type": "object", "properties": {"a": {"type": "number", "multipleOf": 0.5}}}
    catalogue = Catalogue([CallSpec("T-to-I", Modality.IMAGE, None, schema)])
    call = f'<meta>{{"Model": "T-to-I", "Input": "a", "Options": {{"a": {digits}}}}}</meta>'
    event = read(call, catalogue=catalogue)[-1]
    assert isinstance(event, Malformed)
    assert "beyond all use" in event.reason


# ------------------------------------------------------------------------------------------- ids


def test_only_the_token_opens_where_ids_are_read(vocabulary: Vocabulary, tokenizer: object) -> None:
    body = CALL.removeprefix("<meta>").removesuffix("</meta>")
    spelled = [vocabulary.single(byte) for byte in CALL.encode()]
    tokens = [vocabulary.added["<meta>"], *(vocabulary.single(byte) for byte in body.encode())]
    tokens.append(vocabulary.added["</meta>"])
    parser = StreamParser(vocabulary=vocabulary)
    events = [event for token in (*spelled, *tokens, *spelled) for event in parser.feed_ids([token])]
    events += parser.close()
    texts = "".join(event.text for event in events if isinstance(event, TextDelta))
    assert texts == CALL * 2
    assert [event for event in events if not isinstance(event, TextDelta)] == [
        MetaResponseOpened("T-to-I"),
        MetaResponse("T-to-I", "a brown dog"),
    ]


def test_inside_a_string_characters_are_content_and_the_token_closes(vocabulary: Vocabulary) -> None:
    opener, closer = vocabulary.added["<meta>"], vocabulary.added["</meta>"]
    start = [opener, *(vocabulary.single(byte) for byte in b'{"Model": "T-to-I", "Input": "a ')]
    spelled = [vocabulary.single(byte) for byte in b'</meta> b"}']
    parser = StreamParser(vocabulary=vocabulary)
    events = [*parser.feed_ids([*start, *spelled, closer]), *parser.feed_ids([*start, closer])]
    assert events[1] == MetaResponse("T-to-I", "a </meta> b")
    malformed, text = events[3:]
    assert isinstance(malformed, Malformed)
    assert malformed.raw == '<meta>{"Model": "T-to-I", "Input": "a '
    assert text == TextDelta("</meta>")


def test_a_marker_cuts_an_incomplete_character(vocabulary: Vocabulary) -> None:
    lead = vocabulary.single(0xF0)
    parser = StreamParser(vocabulary=vocabulary)
    ids = [lead, vocabulary.added["</meta>"], lead]
    events = [*parser.feed_ids(ids), *parser.close()]
    assert "".join(event.raw for event in events) == "\ufffd</meta>\ufffd" == vocabulary.text(ids)


def test_ids_of_a_padded_table_say_nothing(vocabulary: Vocabulary) -> None:
    parser = StreamParser(vocabulary=vocabulary)
    assert [*parser.feed_ids([len(vocabulary) + 5, -1]), *parser.close()] == []


# ----------------------------------------------------------------------------------- the contract


def test_a_source_counts_from_when_it_is_added(catalogue: Catalogue) -> None:
    call = '<meta>{"Model": "TI-to-I", "Input": "bluer", "Source": 2}</meta>'
    parser = StreamParser(catalogue=catalogue)
    assert isinstance(parser.feed(call)[-1], Malformed)
    parser.add_source(2, Modality.IMAGE)
    assert parser.feed(call)[-1] == MetaResponse("TI-to-I", "bluer", {}, 2)


def test_only_what_can_be_called_is_announced(catalogue: Catalogue) -> None:
    (event,) = read('<meta>{"Model": "T-to-X", "Input": "a"}</meta>', catalogue=catalogue)
    assert isinstance(event, Malformed)


def test_a_parser_is_for_one_reading_of_one_answer(vocabulary: Vocabulary) -> None:
    parser = StreamParser(vocabulary=vocabulary)
    parser.feed("a")
    with pytest.raises(InputError, match="reads text"):
        parser.feed_ids([1])
    parser.close()
    with pytest.raises(InputError, match="is closed"):
        parser.feed("b")
    with pytest.raises(InputError, match="without a vocabulary"):
        StreamParser().feed_ids([1])


def test_no_torch_is_imported() -> None:
    program = (
        "import sys, modaverse.metaresponse as m; m.StreamParser().feed('a'); print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


@pytest.mark.parametrize("unit", ['"a brown dog" {b} < ', CALL, "<met", "<meta>{", '<meta>{"a": [1, "', "\\"])
def test_work_is_linear(unit: str) -> None:
    """Counted, not timed: the calls that Python makes while it reads twice as much."""

    def work(text: str) -> int:
        count = 0

        def tick(*_: object) -> None:
            nonlocal count
            count += 1

        parser = StreamParser(limits=Limits(max_calls=10**6))
        parser.feed(unit)  # the automaton grows with the first characters
        sys.setprofile(tick)
        try:
            for index in range(0, len(text), 4):
                parser.feed(text[index : index + 4])
            parser.close()
        finally:
            sys.setprofile(None)
        return count

    short = unit * (4096 // len(unit))
    assert work(short * 2) <= 2.05 * work(short)
