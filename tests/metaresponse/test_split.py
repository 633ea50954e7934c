"""However the input is cut, the events are the same; and nothing raises."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from modaverse.context import Modality, ParserEvent
from modaverse.metaresponse import Catalogue, Limits, StreamParser, Vocabulary

Join = Callable[[Iterable[ParserEvent]], list[ParserEvent]]

SOURCES = {1: Modality.IMAGE}
LIMITS = Limits(max_calls=3, max_call_chars=120, max_depth=3)

META = [
    '<meta>{"Model": "T-to-I", "Input": "a cat"}</meta>', '{"Model": "TI-to-I", "Input": "x", "Source": 1}',
    "<meta>", "</meta>", "<meta>", "<me", "ta>", "<", "/", "{", "}", "[", "]", ",", ":", '"', "\\",
    "\\u12", "\\n",
    '"Model": ', '"T-to-I"', '"Input"', '"Options": {"seed": 1, "seed": 2}', "tru", "null", "-", "0",
    "1e", "2.5", " ", "\n", "a b", "é", "日本", "😀", "\ud83d", "\x00",
]  # fmt: skip
TOOL = [
    '<tool_call>\n{"name": "T-to-I", "arguments": {"prompt": "a cat", "seed": 1}}\n</tool_call>',
    "<tool_call>", "</tool_call>", "<tool", "_call>", '{"name": ',
    '"arguments": {', '"prompt": "b"', "}", "\n", "x", "<",
    "é",
]  # fmt: skip
V0 = [
    "Modality:",
    " ",
    "[IMAGE]",
    "[TEXT]",
    "[X",
    "]",
    "Prompt:",
    " a cat",
    "#",
    "##",
    "###",
    "M",
    "Mod",
    "\n",
    "é",
]
BYTES = list("é日😀".encode())


def cuts(length: int, seed: int) -> list[slice]:
    """Pieces of all sizes, empty ones among them; with seed 0 single ones."""
    if seed == 0:
        return [slice(index, index + 1) for index in range(length)]
    chance = random.Random(seed)
    marks = sorted(chance.randint(0, length) for _ in range(chance.randint(0, 12)))
    return [slice(begin, end) for begin, end in zip([0, *marks], [*marks, length], strict=True)]


def check(
    make: Callable[[], StreamParser], feed: str, whole: Sequence[object], text: str, seed: int, join: Join
) -> None:
    parser = make()
    at_once = [*getattr(parser, feed)(whole), *parser.close()]
    assert "".join(event.raw for event in at_once) == text
    parser = make()
    cut = [event for part in cuts(len(whole), seed) for event in getattr(parser, feed)(whole[part])]
    cut += parser.close()
    assert "".join(event.raw for event in cut) == text
    assert join(cut) == join(at_once)


FAST = settings(max_examples=2_000, suppress_health_check=list(HealthCheck))
DOCUMENTS = st.binary(min_size=1, max_size=15)  # a seed for the cuts (0: single characters), then fragments


@pytest.mark.parametrize(
    ("grammar", "fragments"), [("meta_response", META), ("tool_call", TOOL), ("modaverse_v0", V0)]
)
def test_text_may_be_cut_anywhere(
    grammar: str, fragments: list[str], catalogue: Catalogue, joined: Join
) -> None:
    @settings(FAST, max_examples=3_500 if grammar == "meta_response" else 1_000)
    @given(DOCUMENTS)
    def run(document: bytes) -> None:
        seed, *picks = document
        text = "".join(fragments[pick % len(fragments)] for pick in picks)
        known = catalogue if seed % 2 else None
        check(
            lambda: StreamParser(grammar, catalogue=known, sources=SOURCES, limits=LIMITS),
            "feed",
            text,
            text,
            seed,
            joined,
        )

    run()


@FAST
@given(st.text(max_size=60), st.integers(0, 40))
def test_any_text_may_be_cut_anywhere(joined: Join, text: str, seed: int) -> None:
    check(lambda: StreamParser(limits=LIMITS), "feed", text, text, seed, joined)


def test_ids_may_be_cut_anywhere(vocabulary: Vocabulary, catalogue: Catalogue, joined: Join) -> None:
    """Fragments are spelled byte by byte, markers are tokens or spelled, and single bytes come in between."""
    markers = [[vocabulary.added[text]] for text in ("<meta>", "<meta>", "</meta>", "<media>")]
    spelled = [[vocabulary.single(byte) for byte in part.encode("utf-8", "replace")] for part in META]
    fragments = markers + spelled + [[vocabulary.single(byte)] for byte in BYTES] + [[len(vocabulary)]]

    @FAST
    @given(DOCUMENTS)
    def run(document: bytes) -> None:
        seed, *picks = document
        ids = [token for pick in picks for token in fragments[pick % len(fragments)]]
        check(
            lambda: StreamParser(vocabulary=vocabulary, catalogue=catalogue, sources=SOURCES, limits=LIMITS),
            "feed_ids", ids, vocabulary.text(ids), seed, joined,
        )  # fmt: skip

    run()
