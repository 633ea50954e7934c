"""What must hold for any input at all, read from bytes: shared by the fuzzer and the replay of its corpus.

The first byte says which dialect and reading, the second where to cut. In a reading of text the rest is UTF-8
with what is wrong in it replaced; in one of ids each byte is that byte's token, and 0xF8 to 0xFB, which no
text has, are the markers.
"""

from __future__ import annotations

import random
import time

from modaverse.context import Modality, ParserEvent, TextDelta
from modaverse.interfaces import CallSpec
from modaverse.metaresponse import Catalogue, Limits, StreamParser, Vocabulary

GRAMMARS = ("meta_response", "tool_call", "modaverse_v0")
MARKERS = ("<meta>", "</meta>", "<tool_call>", "</tool_call>")
TOKENS = (*(bytes((byte,)) for byte in range(256)), *(marker.encode() for marker in MARKERS))
ADDED = {marker: 256 + index for index, marker in enumerate(MARKERS)}
VOCABULARY = Vocabulary(TOKENS, ADDED, frozenset(ADDED.values()), ())
OPTIONS = {"type": "object", "properties": {"seed": {"type": "integer"}}, "additionalProperties": False}
CATALOGUE = Catalogue(
    [
        CallSpec("T-to-I", Modality.IMAGE, None, OPTIONS, 40),
        CallSpec("TI-to-I", Modality.IMAGE, Modality.IMAGE, OPTIONS, 40),
    ]
)
LIMITS = Limits(max_calls=3, max_depth=4, max_call_chars=200)


def check(data: bytes) -> None:
    """Read `data` whole and in pieces.

    Raises:
        AssertionError: a character is lost, or the cut matters, or the work grows faster than the input.
    """
    if len(data) < 2:
        return
    kind, seed, rest = data[0], data[1], data[2:]
    grammar = GRAMMARS[kind % 3]
    if kind & 0x80:
        ids = [byte + 8 if 0xF8 <= byte <= 0xFB else byte for byte in rest]
        whole, cut = [ids], [ids[part] for part in pieces(len(ids), seed)]
        expected, feed = VOCABULARY.text(ids), "feed_ids"
    else:
        expected = rest.decode("utf-8", "replace")
        whole, cut = [expected], [expected[part] for part in pieces(len(expected), seed)]
        feed = "feed"
    begin = time.thread_time()
    results = [read(grammar, feed, parts, expected) for parts in (whole, cut)]
    assert time.thread_time() - begin < 0.5 + len(rest) * 1e-3, f"{len(rest)} bytes took too long"
    assert results[0] == results[1]


def pieces(length: int, seed: int) -> list[slice]:
    if seed == 0:
        return [slice(index, index + 1) for index in range(length)]
    chance = random.Random(seed)
    marks = sorted(chance.randint(0, length) for _ in range(chance.randint(1, 16)))
    return [slice(begin, end) for begin, end in zip([0, *marks], [*marks, length], strict=True)]


def read(grammar: str, feed: str, parts: list[object], expected: str) -> list[ParserEvent]:
    parser = StreamParser(
        grammar, vocabulary=VOCABULARY, catalogue=CATALOGUE, sources={1: Modality.IMAGE}, limits=LIMITS
    )
    events = [event for part in parts for event in getattr(parser, feed)(part)] + parser.close()
    assert "".join(event.raw for event in events) == expected
    joined: list[ParserEvent] = []
    for event in events:
        if type(event) is TextDelta and joined and type(joined[-1]) is TextDelta:
            joined[-1] = TextDelta(joined[-1].text + event.text)
        else:
            joined.append(event)
    return joined
