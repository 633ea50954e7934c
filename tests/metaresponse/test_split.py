"""However the input is cut, the events are the same; and nothing raises."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import combinations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerFast

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
    "Modality: [IMAGE] Prompt: a cat ###",
    "Modality: [TEXT][AUDIO] Prompt: ",
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
BODIES = [
    '{"Model": "T-to-I", "Input": "a 日本 cat"}', '{"Model": "T-to-A", "Input": "\\"\\u00e9\\n"}',
    '{"Model": "TI-to-I", "Input": "x", "Options": {"seed": 1, "strength": 5e-1}, "Source": 1}',
    '{"Model": "T-to-I", "Input": "a", "Options": {"seed": -1}}',
]  # fmt: skip


def cuts(length: int, seed: int) -> list[slice]:
    """Pieces of all sizes, empty ones among them; with seed 0 single ones."""
    if seed == 0:
        return [slice(index, index + 1) for index in range(length)]
    chance = random.Random(seed)
    marks = sorted(chance.randint(0, length) for _ in range(chance.randint(0, 12)))
    return [slice(begin, end) for begin, end in zip([0, *marks], [*marks, length], strict=True)]


def check(
    make: Callable[[], StreamParser], feed: str, whole: Sequence[object], text: str, seed: int, join: Join
) -> Counter[str]:
    """The kinds of the events that `whole` gives at once and, just the same, in pieces."""
    at_once = read(make(), feed, [whole])
    assert "".join(event.raw for event in at_once) == text
    cut = read(make(), feed, [whole[part] for part in cuts(len(whole), seed)])
    assert "".join(event.raw for event in cut) == text
    assert join(cut) == join(at_once)
    return Counter(type(event).__name__ for event in at_once)


def read(parser: StreamParser, feed: str, parts: Iterable[object]) -> list[ParserEvent]:
    return [event for part in parts for event in getattr(parser, feed)(part)] + parser.close()


def holds(cases: int, run: Callable[[], None], met: Counter[str], *, calls: bool = True) -> None:
    """`run` adds to `met`: it must really have tried so many cases, and met what documents can hold."""
    run()
    assert met["cases"] >= cases
    if calls:
        assert min(met[kind] for kind in ("TextDelta", "MetaResponse", "Malformed")) >= cases // 50


FAST = settings(max_examples=2_000, suppress_health_check=list(HealthCheck))
DOCUMENTS = st.binary(min_size=1, max_size=15)  # a seed for the cuts (0: single characters), then fragments


@pytest.mark.parametrize(
    ("grammar", "fragments"), [("meta_response", META), ("tool_call", TOOL), ("modaverse_v0", V0)]
)
def test_text_may_be_cut_anywhere(
    grammar: str, fragments: list[str], catalogue: Catalogue, joined: Join
) -> None:
    cases = 3_500 if grammar == "meta_response" else 1_000
    met: Counter[str] = Counter()

    @settings(FAST, max_examples=cases)
    @given(DOCUMENTS)
    def run(document: bytes) -> None:
        seed, *picks = document
        text = "".join(fragments[pick % len(fragments)] for pick in picks)
        known = catalogue if seed % 2 else None
        met["cases"] += 1
        met.update(
            check(
                lambda: StreamParser(grammar, catalogue=known, sources=SOURCES, limits=LIMITS),
                "feed", text, text, seed, joined,
            )
        )  # fmt: skip

    holds(cases, run, met)


def test_any_text_may_be_cut_anywhere(joined: Join) -> None:
    met: Counter[str] = Counter()

    @FAST
    @given(st.text(max_size=60), st.integers(0, 40))
    def run(text: str, seed: int) -> None:
        met["cases"] += 1
        check(lambda: StreamParser(limits=LIMITS), "feed", text, text, seed, joined)

    holds(2_000, run, met, calls=False)


def test_ids_may_be_cut_anywhere(
    tokenizer: PreTrainedTokenizerFast, vocabulary: Vocabulary, catalogue: Catalogue, joined: Join
) -> None:
    """Calls as the tokenizer writes them; fragments spelled byte by byte, with markers that are therefore
    none; markers that are tokens; and single bytes, in and out of place."""
    opener, closer = (vocabulary.added[text] for text in ("<meta>", "</meta>"))
    calls = [[opener, *tokenizer(body, add_special_tokens=False)["input_ids"], closer] for body in BODIES]
    markers = [[opener], [opener], [closer], [vocabulary.added["<media>"]]]
    spelled = [[vocabulary.single(byte) for byte in part.encode("utf-8", "replace")] for part in META]
    single = [[vocabulary.single(byte)] for byte in BYTES]
    fragments = calls * 2 + markers + spelled + single + [[len(vocabulary)]]

    met: Counter[str] = Counter()

    @FAST
    @given(DOCUMENTS)
    def run(document: bytes) -> None:
        seed, *picks = document
        ids = [token for pick in picks for token in fragments[pick % len(fragments)]]
        met["cases"] += 1
        met.update(
            check(
                lambda: StreamParser(
                    vocabulary=vocabulary, catalogue=catalogue, sources=SOURCES, limits=LIMITS
                ),
                "feed_ids", ids, vocabulary.text(ids), seed, joined,
            )
        )  # fmt: skip

    holds(2_000, run, met)


# ------------------------------------------------------------------------ every cut, not only random ones

EVERYWHERE = {
    "a call with escapes": '<<meta>{"Model": "T-to-I", "Input": "é\\"\\ud83d\\ude00\\\\</meta>"}</meta>.',
    "one that breaks off": 'a<me<meta>\r\n{"Model":"T-to-I","Input":"\\ud8\n"} <meta',
    "numbers and words": '<meta>{"Options":{"a":[-1.5e+3,0,true,nulL]}}</meta>',
    "one too many": '<meta>{"Input":"a","Model":"T-to-I"}</meta><meta>{"a":1',
}


def everywhere(whole: Sequence[object]) -> Iterator[list[Sequence[object]]]:
    """In two pieces and in three, at every place."""
    for first in range(len(whole) + 1):
        yield [whole[:first], whole[first:]]
    for first, second in combinations(range(1, len(whole)), 2):
        yield [whole[:first], whole[first:second], whole[second:]]


@pytest.mark.parametrize("document", EVERYWHERE)
def test_every_cut_of_a_text(document: str, joined: Join) -> None:
    text, limits = EVERYWHERE[document], Limits(max_calls=1)
    expected = joined(read(StreamParser(limits=limits), "feed", [text]))
    assert len(expected) > 1
    for parts in everywhere(text):
        assert joined(read(StreamParser(limits=limits), "feed", parts)) == expected


def test_every_cut_of_ids(vocabulary: Vocabulary, joined: Join) -> None:
    """Byte by byte, so that characters are cut too; the markers are tokens, and spelled in the string."""
    body = '{"Model": "T-to-I", "Input": "é😀\\n</meta>"}'
    ids = [vocabulary.added["<meta>"], *map(vocabulary.single, body.encode()), vocabulary.added["</meta>"]]
    expected = read(StreamParser(vocabulary=vocabulary), "feed_ids", [ids])
    assert [type(event).__name__ for event in expected] == ["MetaResponseOpened", "MetaResponse"]
    for parts in everywhere(ids):
        assert read(StreamParser(vocabulary=vocabulary), "feed_ids", parts) == expected
