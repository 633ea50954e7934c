"""Whatever is sampled under the mask parses and is allowed, and no limit cuts it."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import pytest
import torch

from modaverse.context import Malformed, MetaResponse, Modality
from modaverse.errors import GrammarError, InputError, ModelError
from modaverse.interfaces import CallSpec
from modaverse.metaresponse import Catalogue, StreamParser, TokenMask, Vocabulary
from modaverse.metaresponse.mask import Matcher

SOURCES = {1: Modality.IMAGE, 2: Modality.AUDIO, 3: Modality.IMAGE, 4: Modality.VIDEO}
DIALECTS = {
    "meta_response": ("meta_response", ("<meta>", "</meta>")),
    "tool_call, tokens": ("tool_call", ("<tool_call>", "</tool_call>")),
    "tool_call, spelled": ("tool_call", ()),
}


def allowed(matcher: Matcher, size: int) -> set[int]:
    return set(matcher.allow(torch.zeros(size)).isfinite().nonzero().flatten().tolist())


def write(matcher: Matcher, ids: Iterable[int]) -> None:
    for token in ids:
        matcher.accept(token)


class Scribbler:
    """An LLM without sense: it opens calls often, closes strings early, and loves every kind of blank."""

    def __init__(self, vocabulary: Vocabulary, opener: Sequence[int], seed: int) -> None:
        self._chance, self._opener = random.Random(seed), opener
        self._noise = torch.Generator().manual_seed(seed)
        self._plans: dict[int, list[int]] = {}
        self._lean = torch.zeros(len(vocabulary) + 3)  # a table wider than the vocabulary
        self._lean[vocabulary.single(ord('"'))] = 3.0
        for byte in b" \\\xe3\x80\xc2\xa0":  # the bytes of white space, and of escapes
            self._lean[vocabulary.single(byte)] = 2.0
        self._lean[vocabulary.ends[0]] = 3.0

    def logits(self, rows: int) -> torch.Tensor:
        noise = torch.rand(rows, len(self._lean), generator=self._noise)
        logits = self._lean - noise.log_().neg_().log_()
        for row in range(rows):
            plan = self._plans.setdefault(row, [])
            if not plan and self._chance.random() < 0.2:
                plan += self._opener
            if plan:
                logits[row, plan.pop(0)] += 40
        return logits


def scribble(
    mask: TokenMask, scribbler: Scribbler, budgets: Sequence[int], sources: Mapping[int, Modality]
) -> list[list[int]]:
    """One answer for each budget, all at once; an answer ends with an end token or with its budget."""
    matchers = [mask.start(sources, budget) for budget in budgets]
    answers: list[list[int]] = [[] for _ in budgets]
    for step in range(max(budgets)):
        rows = [None if matcher.ended or step >= budget else matcher
                for matcher, budget in zip(matchers, budgets, strict=True)]  # fmt: skip
        if not any(rows):
            break
        tokens = mask.allow(rows, scribbler.logits(len(rows))).argmax(1).tolist()
        for matcher, answer, token in zip(rows, answers, tokens, strict=True):
            if matcher is not None:
                matcher.accept(token)
                answer.append(token)
    return answers


def count_events(
    answers: Iterable[Sequence[int]], vocabulary: Vocabulary, catalogue: Catalogue, grammar: str | Path
) -> Counter[str]:
    found: Counter[str] = Counter()
    for ids in answers:
        parser = StreamParser(grammar, vocabulary=vocabulary, catalogue=catalogue, sources=SOURCES)
        events = [*parser.feed_ids(ids), *parser.close()]
        assert "".join(event.raw for event in events) == vocabulary.text(ids)
        assert not [event for event in events if isinstance(event, Malformed)]
        found.update(event.model for event in events if isinstance(event, MetaResponse))
    return found


def differ(
    vocabulary: Vocabulary,
    catalogue: Catalogue,
    grammar: str | Path,
    opener: Sequence[int],
    answers: int,
    seed: int,
) -> Counter[str]:
    """Sample `answers` answers under the mask and parse them; the calls that there were, by model."""
    mask = TokenMask.compile(vocabulary, catalogue, grammar=grammar)
    needed = mask.needed(SOURCES)
    chance = random.Random(seed)
    found: Counter[str] = Counter()
    for batch in range(0, answers, 100):
        budgets = [
            chance.choice((20, needed, needed + 1, needed + 40)) for _ in range(min(100, answers - batch))
        ]
        scribbler = Scribbler(vocabulary, opener, seed + batch)
        found += count_events(scribble(mask, scribbler, budgets, SOURCES), vocabulary, catalogue, grammar)
    return found


@pytest.mark.parametrize("kind", ["byte-level", "sentencepiece"])
@pytest.mark.parametrize("dialect", DIALECTS)
def test_what_is_sampled_parses(make_tokenizer, kind: str, dialect: str, catalogue: Catalogue) -> None:
    grammar, markers = DIALECTS[dialect]
    tokenizer = make_tokenizer(kind, markers)
    opener = "<meta>" if grammar == "meta_response" else "<tool_call>"
    ids = tokenizer(opener, add_special_tokens=False)["input_ids"]
    vocabulary = Vocabulary.from_tokenizer(tokenizer)
    found = differ(vocabulary, catalogue, grammar, ids, 400 if dialect == "meta_response" else 300, seed=1)
    assert set(found) == {"T-to-I", "T-to-A", "TI-to-I", "TA-to-A"}


@pytest.mark.slow
def test_ten_thousand_answers_parse(vocabulary: Vocabulary, catalogue: Catalogue) -> None:
    found = differ(vocabulary, catalogue, "meta_response", [vocabulary.added["<meta>"]], 7_500, seed=2)
    assert found.total() > 2_500


def test_the_grammar_file_is_the_source_of_both(make_tokenizer, catalogue: Catalogue, tmp_path: Path) -> None:
    """Other delimiters in the file, and parser and mask speak them, and the old ones no longer."""
    from modaverse.metaresponse.grammar import load_dialect

    source = load_dialect("meta_response").source
    (tmp_path / "other.lark").write_text(
        source.replace('"<meta>"', '"<make>"').replace('"</meta>"', '"</make>"')
    )
    table = "\n".join(
        f'{name} = "object.{name.capitalize()}"' for name in ("model", "input", "options", "source")
    )
    (tmp_path / "other.toml").write_text(table)
    tokenizer = make_tokenizer("byte-level", ("<meta>", "</meta>", "<make>", "</make>"))
    vocabulary, grammar = Vocabulary.from_tokenizer(tokenizer), tmp_path / "other.lark"
    found = differ(vocabulary, catalogue, grammar, [vocabulary.added["<make>"]], 100, seed=3)
    assert found.total() > 20
    matcher = TokenMask.compile(vocabulary, catalogue, grammar=grammar).start(SOURCES, 1000)
    assert vocabulary.added["<make>"] in allowed(matcher, len(vocabulary))
    assert vocabulary.added["<meta>"] not in allowed(matcher, len(vocabulary))
    call = '{"Model": "T-to-A", "Input": "a bell"}'
    events = StreamParser(grammar).feed(f"<meta><make>{call}</make>")
    assert [type(event).__name__ for event in events] == ["TextDelta", "MetaResponseOpened", "MetaResponse"]


# ---------------------------------------------------------------------------------- what is allowed


@pytest.fixture(scope="module")
def mask(vocabulary: Vocabulary, catalogue: Catalogue) -> TokenMask:
    return TokenMask.compile(vocabulary, catalogue)


def spell(vocabulary: Vocabulary, text: str) -> list[int]:
    return [vocabulary.single(byte) for byte in text.encode()]


def next_texts(
    mask: TokenMask,
    vocabulary: Vocabulary,
    sources: Mapping[int, Modality],
    text: str,
    *,
    whole: bool = False,
) -> set[str]:
    """What can follow `text` within a call, by first character or as `whole` tokens."""
    matcher = mask.start(sources, 1000)
    write(matcher, [vocabulary.added["<meta>"], *spell(vocabulary, text)])
    texts = map(vocabulary.text, ([token] for token in allowed(matcher, len(vocabulary))))
    return {text if whole else text[:1] for text in texts}


def test_control_tokens_are_never_sampled(mask: TokenMask, vocabulary: Vocabulary) -> None:
    control = set(vocabulary.special)
    matcher = mask.start(SOURCES, 1000)
    assert allowed(matcher, len(vocabulary)) & control == {vocabulary.added["<meta>"], *vocabulary.ends}
    write(matcher, [vocabulary.added["<meta>"]])
    assert not allowed(matcher, len(vocabulary)) & control


def test_the_tokenization_of_fixed_text_is_not_dictated(make_tokenizer, catalogue: Catalogue) -> None:
    tokenizer = make_tokenizer("byte-level", ("<meta>", "</meta>"))
    vocabulary = Vocabulary.from_tokenizer(tokenizer)
    matcher = TokenMask.compile(vocabulary, catalogue).start({}, 1000)
    write(matcher, [vocabulary.added["<meta>"]])
    texts = {vocabulary.text([token]) for token in allowed(matcher, len(vocabulary))}
    assert "{" in texts
    assert any(len(text) > 1 for text in texts)


def test_sources_are_the_numbers_that_exist(mask: TokenMask, vocabulary: Vocabulary) -> None:
    edit = '{"Model": "TI-to-I", "Input": "bluer", "Source": '
    assert next_texts(mask, vocabulary, SOURCES, edit) == {"1", "3"}
    assert next_texts(mask, vocabulary, {12: Modality.IMAGE}, edit) == {"1"}
    assert next_texts(mask, vocabulary, {12: Modality.IMAGE}, edit + "1") == {"2"}
    assert next_texts(mask, vocabulary, {}, '{"Model": "T') == {"-"}
    assert next_texts(mask, vocabulary, {2: Modality.AUDIO}, '{"Model": "T') == {"-", "A"}


def test_an_input_does_not_begin_with_white_space(mask: TokenMask, vocabulary: Vocabulary) -> None:
    head = '{"Model": "T-to-A", "Input": '
    blanks = {char for char in map(chr, range(0x3001)) if char.isspace()}
    for text in (head, head + '"'):
        begun = next_texts(mask, vocabulary, {}, text, whole=True)
        assert not {written for written in begun if written.lstrip('"')[:1] in blanks - {""}}
    for start, last in (("\u3000", 0x80), ("\u00a0", 0xA0)):
        matcher = mask.start({}, 1000)
        write(matcher, [vocabulary.added["<meta>"], *spell(vocabulary, head + '"')])
        write(matcher, map(vocabulary.single, start.encode()[:-1]))
        following = allowed(matcher, len(vocabulary))
        assert vocabulary.single(last) not in following
        assert vocabulary.single(last + 1) in following
    assert "n" not in next_texts(mask, vocabulary, {}, head + '"\\')
    assert '"' in next_texts(mask, vocabulary, {}, head + '"\\')
    assert '"' in next_texts(mask, vocabulary, {}, head + '"\\"')
    assert " " in next_texts(mask, vocabulary, {}, head + '"a')


def test_a_call_opens_only_if_its_longest_form_fits(mask: TokenMask, vocabulary: Vocabulary) -> None:
    opener, needed = vocabulary.added["<meta>"], mask.needed({})
    for left, opens in ((needed, True), (needed - 1, False)):
        assert (opener in allowed(mask.start({}, left), len(vocabulary))) is opens
    matcher = mask.start({}, needed + 1)
    write(matcher, spell(vocabulary, "a"))
    assert opener in allowed(matcher, len(vocabulary))
    write(matcher, spell(vocabulary, "b"))
    assert opener not in allowed(matcher, len(vocabulary))


@pytest.mark.parametrize("dialect", DIALECTS)
def test_the_slowest_writer_still_closes_its_call(make_tokenizer, dialect: str) -> None:
    """One byte at a time, the longest of everything that there is, and the budget is kept."""
    grammar, markers = DIALECTS[dialect]
    vocabulary = Vocabulary.from_tokenizer(make_tokenizer("byte-level", markers))
    properties = {
        "a": {"type": "integer", "minimum": 0, "maximum": 99_999},
        "b": {"type": "string", "maxLength": 8},
        "c": {"type": "number", "minimum": 0, "maximum": 9},
    }
    options = {"type": "object", "properties": properties, "additionalProperties": False}
    catalogue = Catalogue([CallSpec("TI-to-I", Modality.IMAGE, Modality.IMAGE, options, 300)])
    mask = TokenMask.compile(vocabulary, catalogue, grammar=grammar)
    opener = "<meta>" if grammar == "meta_response" else "<tool_call>"
    slow, fast = [0xF0, 0x9F, 0x98, 0x80, *b"9.,\n"], list(b'"}')  # what ends strings and objects comes last
    order = [*slow, *(byte for byte in range(256) if byte not in slow + fast), *fast]
    singles = [vocabulary.single(byte) for byte in order]
    for extra in range(3):
        needed = mask.needed(SOURCES) + extra
        matcher = mask.start(SOURCES, needed)
        ids = [vocabulary.added[opener]] if opener in vocabulary.added else spell(vocabulary, opener)
        write(matcher, ids)
        while not matcher.engine.is_accepting() and len(ids) < needed:
            following = allowed(matcher, len(vocabulary))
            ids.append(next((token for token in singles if token in following), min(following)))
            matcher.accept(ids[-1])
        parser = StreamParser(grammar, vocabulary=vocabulary, catalogue=catalogue, sources=SOURCES)
        events = [*parser.feed_ids(ids), *parser.close()]
        assert [type(event).__name__ for event in events] == ["MetaResponseOpened", "MetaResponse"]
        assert isinstance(events[1], MetaResponse)
        assert events[1].options == {"a": 99_999, "b": "\U0001f7df" * 8, "c": 9}
        assert len(ids) > needed * 0.9


def test_an_escaped_quote_does_not_pass_for_the_end_of_an_input(
    vocabulary: Vocabulary, catalogue: Catalogue
) -> None:
    """There are tokens such as `"\\`: behind a backslash it escapes a quote, and begins the next escape."""
    token = len(vocabulary.tokens)
    wider = Vocabulary((*vocabulary.tokens, b'"\\'), vocabulary.added, vocabulary.special, vocabulary.ends)
    mask = TokenMask.compile(wider, catalogue)
    ids = [wider.added["<meta>"], *spell(wider, '{"Model": "T-to-A", "Input": "a\\')]
    matcher = mask.start({}, mask.needed({}))
    write(matcher, ids)
    quotes = 0
    while not matcher.engine.is_accepting() and len(ids) < mask.needed({}):
        following = allowed(matcher, len(wider))
        ids.append(token if token in following else min(following))
        quotes += ids[-1] == token
        matcher.accept(ids[-1])
    events = StreamParser(vocabulary=wider, catalogue=catalogue).feed_ids(ids)
    assert quotes > 10
    assert isinstance(events[-1], MetaResponse)


def test_a_token_that_reaches_into_the_input_does_not_begin_it_with_a_space(
    vocabulary: Vocabulary, catalogue: Catalogue
) -> None:
    tokens = (*vocabulary.tokens, b'" ', b'"a', b'": "')
    wider = Vocabulary(tokens, vocabulary.added, vocabulary.special, vocabulary.ends)
    mask = TokenMask.compile(wider, catalogue)
    following = next_texts(mask, wider, {}, '{"Model": "T-to-A", "Input": ', whole=True)
    assert '"a' in following
    assert '" ' not in following
    assert '": "' in next_texts(mask, wider, {}, '{"Model', whole=True)


def test_the_number_of_calls_is_kept(mask: TokenMask, vocabulary: Vocabulary) -> None:
    opener = vocabulary.added["<meta>"]
    call = [opener, *spell(vocabulary, '{"Model": "T-to-A", "Input": "x"}'), vocabulary.added["</meta>"]]
    matcher = mask.start({}, 5000, calls_left=2)
    write(matcher, call)
    assert opener in allowed(matcher, len(vocabulary))
    write(matcher, call)
    assert opener not in allowed(matcher, len(vocabulary))


def test_nothing_to_call_means_no_call(vocabulary: Vocabulary) -> None:
    opener = vocabulary.added["<meta>"]
    for specs in ([], [CallSpec("TI-to-I", Modality.IMAGE, Modality.IMAGE)]):
        mask = TokenMask.compile(vocabulary, Catalogue(specs))
        assert mask.needed({}) == 0
        assert opener not in allowed(mask.start({}, 10_000), len(vocabulary))


@pytest.mark.parametrize("kind", ["byte-level", "sentencepiece"])
def test_a_spelled_marker_needs_a_whole_call_behind_it(
    make_tokenizer, kind: str, catalogue: Catalogue
) -> None:
    """Where `<tool_call>` is no token, it is no text: neither with garbage behind it, nor without room."""
    tokenizer = make_tokenizer(kind, ())
    vocabulary = Vocabulary.from_tokenizer(tokenizer)
    mask = TokenMask.compile(vocabulary, catalogue, grammar="tool_call")
    matcher = mask.start({}, 1000)
    write(matcher, spell(vocabulary, "Sure: <tool_call>"))
    assert {vocabulary.text([token])[0] for token in allowed(matcher, len(vocabulary))} == {"{", "\n"}
    for before in ("", "Sure é <tool_cal", "\u00e9".encode().decode()):
        matcher = mask.start({}, mask.needed({}) + len(before.removesuffix("<tool_cal").encode()) - 1)
        write(matcher, spell(vocabulary, before))
        rest = "<tool_call>".removeprefix("<tool_cal") if before.endswith("cal") else "<tool_call>"
        write(matcher, spell(vocabulary, rest[:-1]))
        assert vocabulary.single(ord(">")) not in allowed(matcher, len(vocabulary))
        write(matcher, spell(vocabulary, "x <tool"))


def test_no_token_ends_a_call_and_opens_the_next(make_tokenizer, catalogue: Catalogue) -> None:
    """Between the two it would not be asked whether there is room for one, nor whether one is left."""
    plain = Vocabulary.from_tokenizer(make_tokenizer("byte-level", ()))
    both = tuple(before + b"</tool_call>\n<tool_call>" for before in (b"", b'"}}', b'"}}\n'))
    vocabulary = Vocabulary((*plain.tokens, *both), plain.added, plain.special, plain.ends)
    mask = TokenMask.compile(vocabulary, catalogue, grammar="tool_call")
    call = '<tool_call>{"name": "T-to-A", "arguments": {"prompt": "a bell"}}</tool_call>'
    for written in (call.partition("</")[0], call.partition('"}}')[0]):
        matcher = mask.start({}, mask.needed({}), calls_left=1)
        write(matcher, spell(vocabulary, written))
        assert not {vocabulary.text([token]) for token in allowed(matcher, len(vocabulary))} & {
            token.decode() for token in both
        }
        write(matcher, spell(vocabulary, call.removeprefix(written)))
        assert not matcher.engine.is_error()


def test_a_batch_is_what_each_row_is_alone(mask: TokenMask, vocabulary: Vocabulary) -> None:
    size = len(vocabulary) + 9
    logits = torch.randn(4, size, generator=torch.Generator().manual_seed(0))
    starts = [mask.start(SOURCES, 1000), None, mask.start({}, 3), mask.start(SOURCES, 1000)]
    starts[3].accept(vocabulary.added["<meta>"])
    together = mask.allow(starts, logits)
    assert torch.equal(together[1], logits[1])
    for row in (0, 2, 3):
        assert torch.equal(together[row], starts[row].allow(logits[row]))
        assert together[row, len(vocabulary) :].isinf().all()
    starts[0].accept(vocabulary.ends[0])
    assert starts[0].ended
    assert torch.equal(mask.allow(starts, logits)[0], logits[0])


def test_what_was_not_allowed_is_not_accepted(mask: TokenMask, vocabulary: Vocabulary) -> None:
    with pytest.raises(InputError, match="not one that the mask allows"):
        mask.start({}, 1000).accept(vocabulary.added["<media>"])


def test_what_cannot_be_masked_says_so(vocabulary: Vocabulary, catalogue: Catalogue) -> None:
    with pytest.raises(GrammarError, match="carry no JSON object"):
        TokenMask.compile(vocabulary, catalogue, grammar="modaverse_v0")
    small = Vocabulary(
        (b"a", b"</s>", b"<meta>", b"</meta>"),
        {"</s>": 1, "<meta>": 2, "</meta>": 3},
        frozenset({1, 2, 3}),
        (1,),
    )
    endless = Vocabulary(vocabulary.tokens, vocabulary.added, vocabulary.special, ())
    with pytest.raises(ModelError, match="no token that ends an answer"):
        TokenMask.compile(endless, catalogue)
    with pytest.raises(ModelError, match="no tokens for"):
        TokenMask.compile(small, catalogue)
