"""The token mask: whatever an LLM samples under it is text and calls that parse and are allowed.

Its grammar is the dialect's own file, in which the rules `open`, `close` and `object` are replaced: markers
by the single tokens that they are, the object by the JSON Schema of what can be called just then. Where a
marker is no single token, ordinary text runs lazily up to the spelled marker instead, as else
`<tool_call>{garbage` would pass for text. llguidance does the rest (Earley parsing over lexemes,
https://github.com/guidance-ai/llguidance).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from llguidance import LLExecutor, LLMatcher, LLTokenizer, TokenizerWrapper
from llguidance.numpy import fill_next_token_bitmask, fill_next_token_bitmask_par

from modaverse.context import Modality
from modaverse.errors import GrammarError, InputError, ModelError
from modaverse.metaresponse.catalogue import Catalogue, Limits
from modaverse.metaresponse.grammar import Dialect, load_dialect
from modaverse.metaresponse.progress import BLANK, Progress, Stage
from modaverse.metaresponse.schema import FORMAT, Form, forms
from modaverse.metaresponse.vocabulary import Vocabulary

if TYPE_CHECKING:
    import torch

_LEAST_INPUT = 48  # tokens that a call must leave to its input, if that may be so long: some 200 characters
_CHAR_TOKENS = 3  # tokens that may be needed to complete a character or an escape
_MOST_SEGMENTS = 32  # compiled grammars that are kept: one for each set of media that calls can name

# Forcing would dictate how fixed text is cut into tokens; the LLM writes it as it learnt to.
_HEADER = '%llguidance {"no_forcing": true}\n'


@dataclass(frozen=True, slots=True)
class _Segment:
    """What is compiled for one set of media. All counts are in tokens; a token has at least one byte."""

    prototype: LLMatcher
    quiet: LLMatcher | None  # without calls; None where clearing the marker's bit does it
    heads: frozenset[bytes]
    needed: int  # for a whole call; 0 where none is possible
    tail: int  # what must be left when an input ends


class TokenMask:
    """The mask of one LLM (`vocabulary`) for one set of generators. Made by `compile`."""

    def __init__(self, vocabulary: Vocabulary, catalogue: Catalogue, dialect: Dialect) -> None:
        self._vocabulary, self._catalogue, self._dialect = vocabulary, catalogue, dialect
        self._markers = {"open": dialect.opener.text, "close": dialect.closer.text}
        ids = {rule: vocabulary.added.get(text) for rule, text in self._markers.items()}
        self._ids = {rule: token for rule, token in ids.items() if token is not None}
        self._tokenizer = _tokenizer(vocabulary, frozenset(self._ids.values()), self._markers["open"][0])
        self._quote = _bits(vocabulary, b'"')
        self._byte = _bits(vocabulary, b"(?s:.)$")
        self._blank = _bits(vocabulary, BLANK)
        self._quoted_blank = _bits(vocabulary, b'(?s:.)*"' + BLANK)  # in a head no quote precedes a space
        self._opening = _bits(vocabulary, b"(?s:.)*" + re.escape(self._markers["open"].encode()))
        self._kinds = frozenset(spec.source for spec in catalogue.values())
        self._segments: dict[frozenset[tuple[int, Modality]], _Segment] = {}
        self._executor: LLExecutor | None = None

    @classmethod
    def compile(
        cls,
        vocabulary: Vocabulary,
        catalogue: Catalogue,
        *,
        grammar: str | Path = "meta_response",
    ) -> TokenMask:
        """The mask for what `catalogue` holds, compiled for a context without media.

        Raises:
            GrammarError: the dialect's calls carry no JSON object, so that there is nothing to replace.
            ModelError: the vocabulary cannot spell JSON.
            SettingsError: a generator requires options that have no bounded form.
        """
        dialect = load_dialect(grammar)
        if any(not place.keys for place in dialect.fields.values()):
            raise GrammarError(
                f"calls of the dialect {dialect.name} carry no JSON object, so there is no mask for them",
                hint="Answer with constrained=False, or say so under [answer] in the profile.",
            )
        mask = cls(vocabulary, catalogue, dialect)
        mask._segment({})
        return mask

    def needed(self, sources: Mapping[int, Modality]) -> int:
        """How many tokens must be left for a call to open; 0 where no call is possible."""
        return self._segment(sources).needed

    def start(
        self, sources: Mapping[int, Modality], tokens_left: int, *, calls_left: int = Limits().max_calls
    ) -> Matcher:
        """A matcher for one segment of sampled tokens, which begins in ordinary text.

        Args:
            sources: the media in the context at this point, number → modality.
            tokens_left: how many tokens may still be sampled.
            calls_left: how many calls the answer may still make.
        """
        return Matcher(self, self._segment(sources), tokens_left, calls_left)

    def allow(self, matchers: Sequence[Matcher | None], logits: torch.Tensor) -> torch.Tensor:
        """`logits` (b, vocabulary) of many sequences at once; rows whose matcher is None stay as they are."""
        import torch

        active = [(row, matcher) for row, matcher in enumerate(matchers) if matcher and not matcher.ended]
        words = np.full((len(matchers), len(self._quote)), -1, dtype=np.int32)
        if len(active) == 1:
            row, matcher = active[0]
            fill_next_token_bitmask(matcher.engine, words, row)
        elif active:
            self._executor = self._executor or LLExecutor()
            fill_next_token_bitmask_par(
                self._executor, [(matcher.engine, row) for row, matcher in active], words
            )
        for row, matcher in active:
            matcher.trim(words[row])
        banned = np.unpackbits(
            (~words).view(np.uint8), axis=1, count=len(self._vocabulary), bitorder="little"
        )
        wider = logits.shape[1] - banned.shape[1]  # a model's table may be padded beyond its vocabulary
        if wider > 0:
            banned = np.pad(banned, ((0, 0), (0, wider)), constant_values=1)
        banned[sorted(set(range(len(matchers))) - {row for row, _ in active})] = 0
        return logits.masked_fill(torch.from_numpy(banned).view(torch.bool).to(logits.device), -torch.inf)

    # --------------------------------------------------------------------------------- compiling

    def _segment(self, sources: Mapping[int, Modality]) -> _Segment:
        key = frozenset((number, kind) for number, kind in sources.items() if kind in self._kinds)
        if key not in self._segments:
            if len(self._segments) >= _MOST_SEGMENTS:
                self._segments.pop(next(iter(self._segments)))
            self._segments[key] = self._compile(forms(self._dialect, self._catalogue.values(), dict(key)))
        return self._segments[key]

    def _compile(self, possible: list[Form]) -> _Segment:
        # Without anything to call the marker stays forbidden, and what would follow it does not matter.
        schema = {"x-guidance": FORMAT, "anyOf": [form.schema for form in possible] or [{"type": "null"}]}
        rules = {"object": f"object: %json {json.dumps(schema)}"}
        rules |= {rule: f"{rule}: <[{token}]>" for rule, token in self._ids.items()}
        quiet = None
        if "open" not in self._ids:
            opener = _in_regex(self._markers["open"])
            rules |= {"open": f"open[lazy]: /(.|\\n)*{opener}/", "text": "text: /(.|\\n)+/"}
            quiet = self._matcher(f"start: QUIET\nQUIET: /(.|\\n)*/ & ~/(.|\\n)*{opener}(.|\\n)*/\n")
        prototype = self._matcher(_HEADER + derive(self._dialect.source, rules))
        between = self._between()
        cost = {rule: 1 if rule in self._ids else len(self._markers[rule].encode()) for rule in self._markers}
        tail = _CHAR_TOKENS + max((form.tail for form in possible), default=0) + between + cost["close"]
        needed = max((len(form.head) + min(_LEAST_INPUT, form.input_bytes) for form in possible), default=0)
        needed = needed + cost["open"] + between + tail if possible else 0
        return _Segment(prototype, quiet, frozenset(form.head for form in possible), needed, tail)

    def _matcher(self, grammar: str) -> LLMatcher:
        matcher = LLMatcher(self._tokenizer, grammar, log_level=0)
        if matcher.is_error():
            raise GrammarError(
                f"llguidance does not read {self._dialect.name}.lark: {matcher.get_error()}",
                hint="Keep to what lark and llguidance both read: see docs/dialects.md.",
            )
        return matcher

    def _between(self) -> int:
        """The most that can stand in a call beside its markers and its object, such as newlines."""
        widths = [0]
        for rule in self._dialect.lark.rules:
            if rule.origin.name == "call":
                terms = [self._dialect.lark.get_terminal(symbol.name) for symbol in rule.expansion
                         if symbol.is_term]  # fmt: skip
                widths.append(sum(int(term.pattern.max_width) for term in terms))
        if max(widths) > 64:
            raise GrammarError(
                f"{self._dialect.name}.lark: what stands between the markers and the object has no bound",
                hint="Put fixed strings there, such as newlines.",
            )
        return max(widths)


class Matcher:
    """The mask of one sequence over one segment. Forced tokens are never fed to it."""

    def __init__(self, mask: TokenMask, segment: _Segment, tokens_left: int, calls_left: int) -> None:
        spelled = {rule: None if rule in mask._ids else text.encode() for rule, text in mask._markers.items()}
        self._mask, self._segment = mask, segment
        self._progress = Progress(spelled["open"], spelled["close"], segment.heads)
        self._tokens_left, self._calls_left = tokens_left, calls_left
        self.engine = segment.prototype.deep_copy()
        self._quiet = False
        self.ended = False
        self._silence()

    def allow(self, logits: torch.Tensor) -> torch.Tensor:
        """`logits` (vocabulary,) with -inf at every token that may not come next."""
        return self._mask.allow([self], logits[None])[0]

    def accept(self, token: int) -> None:
        """`token` was sampled.

        Raises:
            InputError: it is not one that was allowed.
        """
        if self.ended or not self.engine.consume_token(token):
            raise InputError(
                f"token {token} is not one that the mask allows here",
                hint="Feed the matcher exactly the tokens that were sampled from the logits it gave.",
            )
        self._tokens_left -= 1
        if token in self._mask._vocabulary.ends:
            self.ended = True
            return
        calling = self._progress.stage is not Stage.TEXT
        if token in self._mask._ids.values():
            self._progress.mark()
        else:
            self._progress.feed(self._mask._vocabulary.bytes(token))
        if calling and self._progress.stage is Stage.TEXT:
            self._calls_left -= 1
        self._silence()

    def _may_call(self) -> bool:
        room = self._tokens_left + self._progress.begun  # what is written of a marker needs no room
        return self._calls_left > 0 and 0 < self._segment.needed <= room

    def trim(self, words: np.ndarray) -> None:
        """Take from the allowed tokens (bits in `words`) those that the budget has no room for.

        And those with which an input would begin with white space, and might be nothing but that: a pattern
        in the schema could say it too, at twenty times the cost of the mask.
        """
        stage = self._progress.stage
        if stage is not Stage.TEXT and self._segment.quiet is not None:
            words &= ~self._mask._opening  # a token that ends a call must not open the next one unseen
        if stage is Stage.TEXT and not self._may_call() and "open" in self._mask._ids:
            word, bit = divmod(self._mask._ids["open"], 32)
            words.view(np.uint32)[word] &= ~np.uint32(1 << bit)
        elif stage is Stage.HEAD:
            words &= ~self._mask._quoted_blank
        elif self._progress.torn:
            singles = [self._mask._vocabulary.single(byte) for byte in range(256)
                       if not self._progress.begins_blank(byte)]  # fmt: skip
            words &= _pack(singles, len(self._mask._vocabulary))
        elif self._progress.fresh:
            words &= ~self._mask._blank
        elif stage is Stage.INPUT and self._tokens_left <= self._segment.tail:
            # The rest of the call still fits, and no more: the input ends now, or with its last character.
            # A quote that is escaped ends nothing, and what follows it in its token might be an escape again.
            closing = words & self._mask._quote
            ends = closing.any() and not self._progress.escaped
            words[:] = closing if ends else words & self._mask._byte

    def _silence(self) -> None:
        """From here on without calls, where a marker is spelled and no call fits any more."""
        if self._quiet or self._segment.quiet is None or self._progress.stage is not Stage.TEXT:
            return
        if not self._may_call():
            self._quiet, self.engine = True, self._segment.quiet.deep_copy()
            for byte in self._progress.pending():
                self.engine.consume_token(self._mask._vocabulary.single(byte))


def derive(source: str, rules: Mapping[str, str]) -> str:
    """A grammar in which the definitions of some rules are replaced: name → new definition.

    Raises:
        GrammarError: one of the rules is not there.
    """
    for name, definition in rules.items():
        pattern = rf"^[?!]?{name}[ \t]*:.*(?:\n[ \t]*(?:\||[ \t]).*)*"
        found = list(re.finditer(pattern, source, flags=re.MULTILINE))
        if len(found) != 1:
            raise GrammarError(
                f"the grammar defines the rule `{name}` {len(found)} times",
                hint="Define it once, at the beginning of a line.",
            )
        source = source[: found[0].start()] + definition + source[found[0].end() :]
    return source


def _in_regex(text: str) -> str:
    return re.escape(text).replace("/", r"\/")


@lru_cache(maxsize=32)
def _bits(vocabulary: Vocabulary, pattern: bytes) -> np.ndarray:
    """The tokens whose bytes begin with `pattern`, as the bits of 32-bit words."""
    match = re.compile(pattern).match
    return _pack([token for token, data in enumerate(vocabulary.tokens) if match(data)], len(vocabulary))


def _pack(tokens: Sequence[int], size: int) -> np.ndarray:
    flags = np.zeros(-(-size // 32) * 32, dtype=np.uint8)
    flags[[token for token in tokens if token >= 0]] = 1
    return np.packbits(flags, bitorder="little").view(np.int32)


@lru_cache(maxsize=4)
def _tokenizer(vocabulary: Vocabulary, markers: frozenset[int], first: str) -> LLTokenizer:
    """llguidance's view of the vocabulary: half a second for 128k tokens, so it is shared by masks.

    A slice is a set of tokens that a lexeme can take as a whole, without a walk over its trie: here text
    without what can begin a marker, quotes and escapes, as it stands in answers and in strings.
    """
    if not vocabulary.ends:
        raise ModelError(
            "the vocabulary has no token that ends an answer",
            hint="Give the tokenizer an eos_token, or Vocabulary.from_tokenizer the ids in `ends`.",
        )
    missing = [chr(byte) for byte in range(0x20, 0x7F) if vocabulary.single(byte) < 0]
    if missing:
        raise ModelError(
            f"the vocabulary has no tokens for {' '.join(missing)}",
            hint="Use an LLM whose tokenizer can spell every byte, or sample without the mask.",
        )
    plain = rf"[^{re.escape(first)}\"\\\x00-\x1F\x7F]"
    slices = [plain + "{1,10}", plain + "{1,30}", plain + "+", f"[^{re.escape(first)}]+"]
    return LLTokenizer(
        TokenizerWrapper(_Spelling(vocabulary, markers)), eos_token=list(vocabulary.ends), slices=slices
    )


class _Spelling:
    """A vocabulary as llguidance wants it. Text is spelled byte by byte: nothing here is ever forced."""

    def __init__(self, vocabulary: Vocabulary, markers: frozenset[int]) -> None:
        self.tokens: list[bytes] = list(vocabulary.tokens)
        self.special_token_ids = sorted(vocabulary.special | markers)
        self.eos_token_id = vocabulary.ends[0]
        self.bos_token_id: int | None = None
        self._single = vocabulary.single

    def __call__(self, text: Any) -> list[int]:
        return [self._single(byte) for byte in text]
