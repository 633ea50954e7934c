"""The token mask at a large vocabulary: the time of one mask, and of compiling a grammar, next to peers.

    pip install -e '.[bench]' -c constraints.txt
    python benchmarks/token_mask.py [--tokenizer FILE] [--vocabulary 128000] [--peers NAME...] [--out FILE]

The tokenizer is trained here, on the sources of the installed packages, and kept in FILE. Every engine walks
the tokens of the same answers and makes the mask before each; peers only see the JSON object of a call, with
the same JSON Schema, as they have no grammar with text around it that is derived from ours. A peer that
cannot be imported is named and left out. Where it is not wanted that pip resolves what xgrammar depends on:

    pip install --no-deps --target /tmp/peers xgrammar apache-tvm-ffi outlines-core
    PYTHONPATH=/tmp/peers python benchmarks/token_mask.py
"""

from __future__ import annotations

import argparse
import json
import site
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import report
import torch
from llguidance.numpy import fill_next_token_bitmask
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from modaverse.context import Modality
from modaverse.interfaces import CallSpec
from modaverse.metaresponse import Catalogue, TokenMask, Vocabulary
from modaverse.metaresponse.grammar import load_dialect
from modaverse.metaresponse.mask import Matcher
from modaverse.metaresponse.schema import FORMAT, forms

MARKERS = ("<meta>", "</meta>", "<media>", "</media>")
CHARACTERS = 60_000_000
OPTIONS = {
    "type": "object",
    "properties": {
        "seed": {"type": "integer", "minimum": 0, "maximum": 2**32 - 1},
        "steps": {"type": "integer", "minimum": 1, "maximum": 100},
        "guidance_scale": {"type": "number", "minimum": 0, "maximum": 20},
    },
    "additionalProperties": False,
}
SPECS = [
    CallSpec(f"T-to-{letter}", kind, None, OPTIONS, 200)
    for letter, kind in zip("IVA", Modality, strict=True)
] + [
    CallSpec(f"T{letter}-to-{letter}", kind, kind, OPTIONS, 200)
    for letter, kind in zip("IVA", Modality, strict=True)
]  # fmt: skip
SOURCES = {1: Modality.IMAGE, 2: Modality.AUDIO, 3: Modality.IMAGE}
CALLS = [
    {"Model": "T-to-I", "Input": "a small red cat on a beach, by night, with stars above"},
    {"Model": "T-to-A", "Input": "the low, slow sound of a bell", "Options": {"seed": 12, "steps": 30}},
    {"Model": "TI-to-I", "Input": "make it blue — é, 日本", "Options": {"guidance_scale": 7.5}, "Source": 3},
]
PROSE = "Sure, here it is, as in a < b: "


def load_tokenizer(path: Path, size: int) -> PreTrainedTokenizerFast:
    if not path.exists():
        tokenizer = Tokenizer(models.BPE())
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = decoders.ByteLevel()
        trainer = trainers.BpeTrainer(
            vocab_size=size,
            min_frequency=1,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            special_tokens=["</s>", *MARKERS],
            show_progress=False,
        )
        tokenizer.train_from_iterator(sources(), trainer)
        tokenizer.save(str(path))
    return PreTrainedTokenizerFast(tokenizer_file=str(path), eos_token="</s>")


def sources() -> Iterator[str]:
    read = 0
    for folder in site.getsitepackages():
        for file in sorted(Path(folder).rglob("*.py")):
            text = file.read_text(encoding="utf-8", errors="ignore")
            read += len(text)
            yield text
            if read > CHARACTERS:
                return


class Clock:
    """Times of masks, in seconds of this thread, and of compiling."""

    def __init__(self, name: str, compiled: float) -> None:
        self.name, self.compiled, self.masks = name, compiled, list[float]()

    def run(self, work: Callable[[], object]) -> None:
        begin = time.thread_time_ns()
        work()
        self.masks.append((time.thread_time_ns() - begin) / 1e9)

    def row(self) -> tuple[str, ...]:
        p50, p90, p99 = np.percentile(self.masks, [50, 90, 99]) * 1e6
        return (
            self.name,
            f"{self.compiled * 1e3:,.1f} ms",
            f"{p50:.0f} µs",
            f"{p90:.0f} µs",
            f"{p99:.0f} µs",
        )


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    begin = time.process_time()
    result = work()
    return time.process_time() - begin, result


def measure_ours(tokenizer: PreTrainedTokenizerFast, vocabulary: Vocabulary, rounds: int) -> list[Clock]:
    """Whole answers: text, call, text. In some rounds the mask alone, in others applied to logits."""
    calls = (f"<meta>{json.dumps(call, ensure_ascii=False)}</meta>" for call in CALLS)
    ids = tokenizer(PROSE + PROSE.join(calls) + PROSE, add_special_tokens=False)["input_ids"]
    mask = TokenMask.compile(vocabulary, Catalogue(SPECS))
    compiled, _ = timed(lambda: mask.needed(SOURCES))
    alone, applied = Clock("the mask", compiled), Clock("the mask, applied to logits", compiled)
    inside = Clock("the mask, within a call", compiled)
    words = np.zeros((1, -(-len(vocabulary) // 32)), dtype=np.int32)
    logits = torch.randn(len(vocabulary))

    def bits(matcher: Matcher) -> None:
        fill_next_token_bitmask(matcher.engine, words)
        matcher.trim(words[0])

    opener, closer = (vocabulary.added[marker] for marker in MARKERS[:2])
    for _ in range(rounds):
        matcher, calling = mask.start(SOURCES, 4096), False
        for token in ids:
            begin = len(alone.masks)
            alone.run(partial(bits, matcher))
            if calling:
                inside.masks += alone.masks[begin:]
            matcher.accept(token)
            calling = token == opener or (calling and token != closer)
        matcher = mask.start(SOURCES, 4096)
        for token in ids:
            applied.run(partial(matcher.allow, logits))
            matcher.accept(token)
    return [alone, applied, inside]


def object_schema() -> dict[str, Any]:
    found = forms(load_dialect("meta_response"), SPECS, SOURCES)
    return {"anyOf": [form.schema for form in found]}


def measure_llguidance(vocabulary: Vocabulary, objects: list[list[int]], rounds: int) -> Clock:
    from llguidance import LLMatcher

    tokenizer = TokenMask.compile(vocabulary, Catalogue(SPECS))._tokenizer
    grammar = LLMatcher.grammar_from_json_schema({**object_schema(), "x-guidance": FORMAT})
    compiled, prototype = timed(lambda: LLMatcher(tokenizer, grammar))
    clock = Clock("llguidance", compiled)
    words = np.zeros((1, -(-len(vocabulary) // 32)), dtype=np.int32)
    for ids in objects * rounds:
        matcher = prototype.deep_copy()
        for token in ids:
            clock.run(lambda: fill_next_token_bitmask(matcher, words))  # noqa: B023
            if not matcher.consume_token(token):
                raise RuntimeError(f"llguidance: {matcher.get_error()}")
    return clock


def measure_xgrammar(vocabulary: Vocabulary, objects: list[list[int]], rounds: int) -> Clock:
    import xgrammar

    info = xgrammar.TokenizerInfo(
        list(vocabulary.tokens), xgrammar.VocabType.RAW, stop_token_ids=list(vocabulary.ends)
    )
    compiler = xgrammar.GrammarCompiler(info, max_threads=1, cache_enabled=False)
    schema = json.dumps(object_schema())
    compiled, grammar = timed(
        lambda: compiler.compile_json_schema(schema, any_whitespace=False, separators=(", ", ": "))
    )
    clock = Clock("xgrammar", compiled)
    words = xgrammar.allocate_token_bitmask(1, len(vocabulary))
    for ids in objects * rounds:
        matcher = xgrammar.GrammarMatcher(grammar)
        for token in ids:
            clock.run(lambda: matcher.fill_next_token_bitmask(words))  # noqa: B023
            if not matcher.accept_token(token):
                raise RuntimeError("xgrammar refuses a token of the answer")
    return clock


def measure_outlines(vocabulary: Vocabulary, objects: list[list[int]], rounds: int) -> Clock:
    from outlines_core import Guide, Index
    from outlines_core import Vocabulary as Pieces
    from outlines_core.json_schema import build_regex_from_schema

    pieces: dict[bytes, list[int]] = {}
    for token, data in enumerate(vocabulary.tokens):
        if token not in vocabulary.special and data:
            pieces.setdefault(data, []).append(token)
    known = Pieces(vocabulary.ends[0], pieces)
    regex = build_regex_from_schema(json.dumps(object_schema()), r"[ ]?")
    compiled, index = timed(lambda: Index(regex, known))
    clock = Clock("outlines-core", compiled)
    words = np.zeros(-(-len(vocabulary) // 32), dtype=np.uint32)
    for ids in objects * rounds:
        guide = Guide(index)
        for token in ids:
            clock.run(lambda: guide.write_mask_into(words.ctypes.data, words.size, words.itemsize))  # noqa: B023
            guide.advance(token, return_tokens=False)
    return clock


PEERS = {"llguidance": measure_llguidance, "xgrammar": measure_xgrammar, "outlines": measure_outlines}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--tokenizer", type=Path, default=Path("runs/benchmark_tokenizer.json"))
    parser.add_argument("--vocabulary", type=int, default=128_000)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--peers", nargs="*", choices=PEERS, default=list(PEERS))
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".md"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    where = report.machine(("llguidance", "xgrammar", "outlines-core", "torch"))
    tokenizer = load_tokenizer(options.tokenizer, options.vocabulary)
    vocabulary = Vocabulary.from_tokenizer(tokenizer)
    bodies = [json.dumps(call, ensure_ascii=False) for call in CALLS]
    objects = [tokenizer(body, add_special_tokens=False)["input_ids"] for body in bodies]
    header = ("engine", "grammar compile", "p50", "p90", "p99")
    *own, inside = [clock.row() for clock in measure_ours(tokenizer, vocabulary, options.rounds)]
    rows, absent = [inside], list[str]()
    for name in options.peers:
        try:
            rows.append(PEERS[name](vocabulary, objects, options.rounds).row())
        except ImportError as error:
            absent.append(f"{name} ({error})")
    left_out = [f"Not installed, and so left out: {', '.join(absent)}."] if absent else []
    parts = [
        where,
        f"A vocabulary of {len(vocabulary):,}; CPU times, without what is prepared once for a tokenizer.",
        "## Whole answers: text with three calls", report.table(header, own),
        "## The JSON object of a call alone", report.table(header, rows), *left_out,
    ]  # fmt: skip
    report.write(options.out, "The token mask", parts)


if __name__ == "__main__":
    main()
