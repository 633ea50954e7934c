"""Tokens per second of rows decoded together, next to the same rows one after the other, in one process.

    python benchmarks/batched_decoding.py [--rows 4 16 48] [--tokens 96] [--rounds 5] [--out FILE]

The LLM is of mini's size with random weights. Each row has a request of its own length, and a medium is
spliced into its answer at a place of its own; ends of answers are forbidden, so that both sides make the same
number of tokens. Ratios are of wall time and of CPU time; the latter can be trusted on a busy machine too.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import report
import torch

from modaverse.context import Modality
from modaverse.interfaces import CallSpec, Mask, Matcher, Sampling, TokenNeeded, Transcript
from modaverse.language.batched_decoding import BatchDecoder
from modaverse.language.model import MultimodalLM
from modaverse.metaresponse import Catalogue, TokenMask, Vocabulary
from modaverse.toybox.recipes.llm import build_llm
from modaverse.toybox.tokenizer import load_tokenizer

DIM = 256
GREEDY, WARM = Sampling(), Sampling(temperature=0.8, top_p=0.95)
REQUEST = "Draw a small red cat on a beach, and then tell me what you see in it. "


def mini_sized() -> MultimodalLM:
    """An LLM of mini's size that never ends an answer, its adapter folded in."""
    tokenizer = load_tokenizer()
    with tempfile.TemporaryDirectory() as folder:
        base, adapter = Path(folder, "base"), Path(folder, "adapter")
        build_llm(tokenizer).save_pretrained(base)
        tokenizer.save_pretrained(base)
        MultimodalLM.build(base, embedding_dim=DIM).save_pretrained(adapter)
        model = MultimodalLM.from_pretrained(base, adapter)
    model.token_bias[sorted(model.script.ends)] = -torch.inf
    return model


def token_mask(model: MultimodalLM) -> TokenMask:
    vocabulary = Vocabulary.from_tokenizer(model.tokenizer, ends=sorted(model.script.ends))
    return TokenMask.compile(vocabulary, Catalogue([CallSpec("T-to-I", Modality.IMAGE)]))


def write(
    transcript: Transcript, row: int, sampling: Sampling, mask: Mask | None, tokens: int
) -> Iterator[TokenNeeded]:
    """Row number `row`: it stops before each token."""
    embedding = torch.randn(DIM, generator=torch.Generator().manual_seed(row))
    transcript.set_sampling(seed=row, sampling=sampling)
    transcript.add_user_start()
    transcript.add_text(REQUEST * (1 + row % 3))
    transcript.add_user_end()
    matcher: Matcher | None = None
    for index in range(tokens):
        if index in (0, tokens // 3 + row % 7):
            if index:
                transcript.add_media(1, Modality.IMAGE, embedding)
            matcher = None if mask is None else mask.start({}, tokens - index, calls_left=1)
        yield TokenNeeded(transcript, matcher)
        token = transcript.next_token(None if matcher is None else matcher.allow)
        if matcher is not None:
            matcher.accept(token)


def one_by_one(
    model: MultimodalLM, rows: int, sampling: Sampling, mask: Mask | None, tokens: int
) -> list[Transcript]:
    transcripts: list[Transcript] = []
    for row in range(rows):
        transcripts.append(model.transcript(seed=0, sampling=sampling))
        for _ in write(transcripts[-1], row, sampling, mask, tokens):
            pass
    return transcripts


def together(
    model: MultimodalLM, rows: int, sampling: Sampling, mask: Mask | None, tokens: int
) -> list[Transcript]:
    decoder = BatchDecoder(model, mask=mask)
    transcripts: list[Transcript] = [decoder.transcript(seed=0, sampling=sampling) for _ in range(rows)]
    writing = {t: write(t, row, sampling, mask, tokens) for row, t in enumerate(transcripts)}
    needs = {t: next(steps) for t, steps in writing.items()}
    while needs:
        for need in decoder.step(list(needs.values())):
            following = next(writing[need.transcript], None)
            if following is None:
                del needs[need.transcript]
            else:
                needs[need.transcript] = following
    return transcripts


@dataclass(frozen=True)
class Measured:
    """Seconds of wall and of CPU time for each round of one side."""

    wall: list[float]
    cpu: list[float]


def measure(
    model: MultimodalLM, rows: int, sampling: Sampling, mask: Mask | None, tokens: int, rounds: int
) -> tuple[Measured, Measured, list[str]]:
    """Both sides by turns, and the rows in which they differ."""
    sides = (one_by_one, together)
    measured = (Measured([], []), Measured([], []))
    written: list[list[Transcript]] = []
    for _ in range(rounds + 1):
        written = []
        for side, into in zip(sides, measured, strict=True):
            wall, cpu = time.perf_counter(), time.process_time()
            written.append(side(model, rows, sampling, mask, tokens))
            into.wall.append(time.perf_counter() - wall)
            into.cpu.append(time.process_time() - cpu)
    for side in measured:  # the first round warms up
        del side.wall[0], side.cpu[0]
    return *measured, differences(model, *written)


def differences(model: MultimodalLM, alone: Sequence[Transcript], beside: Sequence[Transcript]) -> list[str]:
    """Where rows differ, and by how much the logits of the two tokens do there."""
    found = []
    for row, (one, other) in enumerate(zip(alone, beside, strict=True)):
        pairs = zip(one._ids, other._ids, strict=True)  # type: ignore[attr-defined]
        place = next((place for place, (a, b) in enumerate(pairs) if a != b), None)
        if place is None:
            continue
        tokens = [each._ids[place] for each in (one, other)]  # type: ignore[attr-defined]
        one.rewind(place)
        logits = one.logits()  # type: ignore[attr-defined]
        gap = float(logits[tokens[0]] - logits[tokens[1]])
        found.append(f"row {row}, position {place}: logit gap {gap:.2e}")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[4, 16, 48])
    parser.add_argument("--tokens", type=int, default=96)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".md"))
    arguments = parser.parse_args()
    where = report.machine(["torch", "transformers", "llguidance"])
    model = mini_sized()
    size = sum(parameter.numel() for parameter in model.core.parameters())
    lines, listed = [], []
    for name, sampling, mask in (
        ("greedy", GREEDY, None),
        ("sampled", WARM, None),
        ("sampled, masked", WARM, token_mask(model)),
    ):
        for rows in arguments.rows:
            alone, beside, differ = measure(model, rows, sampling, mask, arguments.tokens, arguments.rounds)
            made = rows * arguments.tokens
            speeds = [made / statistics.median(side.wall) for side in (alone, beside)]
            cpu = statistics.median(alone.cpu) / statistics.median(beside.cpu)
            same = f"{rows - len(differ)} of {rows}"
            lines.append(
                (
                    name,
                    rows,
                    *(f"{s:,.0f}" for s in speeds),
                    f"{speeds[1] / speeds[0]:.1f}×",
                    f"{cpu:.1f}×",
                    same,
                )
            )
            listed += [f"- {name}, {rows} rows: {line}" for line in differ]
    header = ("", "rows", "tokens/s alone", "tokens/s together", "wall time", "CPU time", "the same text")
    about = (
        f"{size / 1e6:.1f} million parameters, {torch.get_num_threads()} threads, {arguments.tokens} tokens "
        f"a row, medians of {arguments.rounds} rounds in which the sides take turns."
    )
    parts = [
        where,
        about,
        report.table(header, lines),
        *(["Rows that differ:", "\n".join(listed)] if listed else []),
    ]
    report.write(arguments.out, "Batched decoding", parts)


if __name__ == "__main__":
    main()
