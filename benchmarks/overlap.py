"""What it gains that generators work while the LLM writes: deferred splices against one after the other.

    python benchmarks/overlap.py                  prints the report
    python benchmarks/overlap.py --write          and keeps it in benchmarks/overlap.md
    python benchmarks/overlap.py --seconds 0.2    smaller, to see whether it runs

The LLM is a real one of random weights, in which each token costs what it costs; a mask that allows a single
token each time makes it write what the benchmark needs. Generators sleep for a stated time. The baseline is
what the released ModaVerse does, with the same LLM, parser and generators: write everything, read it at the
end, and run the generators one by one.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import report

from modaverse.context import Done, MetaResponse, Modality, Text
from modaverse.generation import GeneratorPool
from modaverse.interfaces import CallSpec, Cancelled, GenerationRequest, Pixels, Progress, Sampling
from modaverse.metaresponse import Vocabulary
from modaverse.orchestrator import AnswerSettings, Orchestrator, call_seed
from modaverse.testing import ScriptedEncoder, save_tiny_llm

if TYPE_CHECKING:
    import torch

    from modaverse.language.model import MultimodalLM

CALL = '<meta>{{"Model": "T-to-I", "Input": "picture number {}"}}</meta>'
SENTENCE = " The picture shows what was asked for, in its colours and in its place."
WORKERS = 4


@dataclass
class Sleeper:
    """A generator that takes `seconds`, and notes when it began."""

    seconds: float
    began: list[float] = field(default_factory=list)
    spec: CallSpec = CallSpec("T-to-I", Modality.IMAGE)  # noqa: RUF009 - frozen

    def load(self) -> None:
        pass

    def generate(self, request: GenerationRequest, *, progress: Progress, cancelled: Cancelled) -> Pixels:
        self.began.append(time.perf_counter())
        time.sleep(self.seconds)
        return Pixels(np.full((8, 8, 3), request.seed % 251, np.uint8))


class OneWay:
    """A mask, and its matcher, that leaves a single token: the next one of a script."""

    def __init__(self, tokens: Sequence[int], close: int) -> None:
        self._tokens: Iterator[int] = iter(tokens)
        self._close = close
        self.closed: list[float] = []  # when each meta-response had its last character

    def start(self, sources: Mapping[int, Modality], tokens_left: int, *, calls_left: int) -> OneWay:
        return self

    def allow(self, logits: torch.Tensor) -> torch.Tensor:
        token = next(self._tokens)
        allowed = logits.new_full(logits.shape, float("-inf"))
        allowed[token] = 0.0
        return allowed

    def accept(self, token: int) -> None:
        if token == self._close:
            self.closed.append(time.perf_counter())


@dataclass
class Studio:
    """An LLM and a folder, on which each measurement builds its own orchestrator."""

    language: MultimodalLM
    vocabulary: Vocabulary
    folder: Path

    def tokens(self, answer: str) -> list[int]:
        """What the LLM is made to write: calls are spelled, and the answer ends."""
        ids = self.language.tokenizer(answer, add_special_tokens=False)["input_ids"]
        return [*ids, self.language.script.end]

    def orchestrator(self, sleeper: Sleeper, tokens: Sequence[int]) -> tuple[Orchestrator, OneWay]:
        mask = OneWay(tokens, self.vocabulary.added["</meta>"])
        pool = GeneratorPool([sleeper], Path(tempfile.mkdtemp(dir=self.folder)), workers=WORKERS)
        encoder = ScriptedEncoder(dim=self.language.config.embedding_dim)
        made: Any = mask  # its two halves are protocols that it has both
        return Orchestrator(self.language, encoder, pool, vocabulary=self.vocabulary, mask=made), mask


def studio(folder: Path, hidden: int) -> Studio:
    from modaverse.language.model import MultimodalLM
    from modaverse.settings import LoraSettings, ProjectorSettings

    sizes = {"hidden_size": hidden, "intermediate_size": 2 * hidden, "max_position_embeddings": 4096}
    base = save_tiny_llm(folder / "llm", **sizes)
    language = MultimodalLM.build(
        base, embedding_dim=16, projector=ProjectorSettings(k=4), lora=LoraSettings(r=4)
    ).eval()
    vocabulary = Vocabulary.from_tokenizer(language.tokenizer, ends=sorted(language.script.ends))
    return Studio(language, vocabulary, folder)


# ------------------------------------------------------------------------------------- what is timed


@dataclass(frozen=True)
class Run:
    """Seconds of one answer, and from the end of each call to the start of its generator."""

    seconds: float
    starts: list[float]
    sampled: int


def deferred(studio: Studio, seconds: float, answer: str, *, splice: Any = "deferred") -> Run:
    sleeper = Sleeper(seconds)
    orchestrator, mask = studio.orchestrator(sleeper, studio.tokens(answer))
    settings = AnswerSettings(0, Sampling(max_new_tokens=3000), splice=splice)
    begin = time.perf_counter()
    events = list(orchestrator.stream(orchestrator.conversation(), [Text("Draw")], settings))
    taken = time.perf_counter() - begin
    orchestrator.pool.close()  # type: ignore[attr-defined]
    done = events[-1]
    assert isinstance(done, Done)
    starts = [start - end for start, end in zip(sleeper.began, mask.closed, strict=True)]
    return Run(taken, starts, done.usage.sampled_tokens)


def one_after_the_other(studio: Studio, seconds: float, answer: str) -> Run:
    """Generate everything, parse at the end, run the generators one by one; nothing is spliced."""
    sleeper = Sleeper(seconds)
    tokens = studio.tokens(answer)
    orchestrator, mask = studio.orchestrator(sleeper, tokens)
    transcript = orchestrator.conversation().transcript
    transcript.set_sampling(seed=0, sampling=Sampling())
    begin = time.perf_counter()
    transcript.add_user_start()
    transcript.add_text("Draw")
    transcript.add_user_end()
    written = [transcript.next_token(mask.allow) for _ in tokens]
    parser = orchestrator.parser({})
    events = [*parser.feed_ids(written[:-1]), *parser.close()]
    for index, event in enumerate(event for event in events if isinstance(event, MetaResponse)):
        request = GenerationRequest(event.model, event.input, call_seed(0, index))
        orchestrator.pool.submit(request).result()
    taken = time.perf_counter() - begin
    orchestrator.pool.close()  # type: ignore[attr-defined]
    return Run(taken, [], len(written))


def median(runs: int, measure: Callable[[], Run]) -> Run:
    """The run of the median time, with the starts of all."""
    measured = sorted((measure() for _ in range(runs)), key=lambda run: run.seconds)
    middle = measured[len(measured) // 2]
    return Run(middle.seconds, [start for run in measured for start in run.starts], middle.sampled)


def story(studio: Studio, calls: int, tokens: int) -> str:
    """An answer with that many calls, early in it, and about that many tokens of text behind them."""
    spoken = " And".join(CALL.format(index) for index in range(calls))
    return f"Here: {spoken}{SENTENCE * round(tokens / (len(studio.tokens(SENTENCE)) - 1))}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--seconds", type=float, default=2.0, help="that one generation takes")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--hidden", type=int, default=256, help="width of the LLM")
    parser.add_argument("--write", action="store_true", help="keep the report in benchmarks/overlap.md")
    options = parser.parse_args()
    where = report.machine(("torch", "transformers"))
    d = options.seconds
    with tempfile.TemporaryDirectory() as folder:
        here = studio(Path(folder), options.hidden)
        four, three = story(here, 4, 60), story(here, 3, 200)
        deferred(here, 0.0, four)  # warm
        rows = []
        starts: list[float] = []
        for what, answer, calls in (("4 calls", four, 4), ("3 media, 200 tokens of text", three, 3)):
            decode = median(options.runs, partial(deferred, here, 0.0, answer))
            side = median(options.runs, partial(deferred, here, d, answer))
            wait = median(options.runs, partial(deferred, here, d, answer, splice="wait"))
            base = median(options.runs, partial(one_after_the_other, here, d, answer))
            starts += side.starts
            ideal = d + decode.seconds
            rows.append(
                [what, f"{calls} × {d:g} s", side.sampled, f"{decode.seconds:.2f} s", f"{side.seconds:.2f} s",
                 f"{side.seconds / ideal:.2f}", f"{wait.seconds:.2f} s", f"{base.seconds:.2f} s",
                 f"{side.seconds / base.seconds:.2f}"]
            )  # fmt: skip
    header = (
        "answer", "generators", "tokens", "decoding alone (d = 0)", "deferred", "deferred / (d + decoding)",
        "wait", "one after the other", "deferred / one after the other",
    )  # fmt: skip
    p50, worst = statistics.median(starts) * 1000, max(starts) * 1000
    parts = [
        where,
        f"Medians of {options.runs}; {WORKERS} workers; an LLM of width {options.hidden}, random weights.",
        report.table(header, rows),
        f"From the last character of a meta-response to the start of its generator: median {p50:.2f} ms, "
        f"largest {worst:.2f} ms, over {len(starts)} calls.",
    ]
    if options.write:
        report.write(Path(__file__).with_suffix(".md"), "Generators beside the LLM", parts)
    else:
        print("\n\n".join(parts))


if __name__ == "__main__":
    main()
