"""What a request costs beside its models: the wall time in which no LLM, encoder or pipeline works.

    python benchmarks/orchestration.py                 warm requests to mini
    python benchmarks/orchestration.py --write         and keeps the report in benchmarks/orchestration.md
    python benchmarks/orchestration.py --scripted      before mini's LLM is there, or to see whether it runs

A model works while the LLM's forward pass, an encoder's `encode` or `encode_text`, or a call of a diffusers
pipeline runs, in whatever thread: the seconds in which at least one of them does are taken off those of the
request, and the rest is orchestration. What takes the most of the rest is shown too, measured in the same
way: the token mask, the reading of tokens, sampling, and the writing of what was made.

With --scripted an LLM of mini's size with random weights is made to write one fixed answer, and mini's own
encoder and picture generator do the rest. A mask that leaves one token stands in for the token mask then.
"""

from __future__ import annotations

import argparse
import functools
import statistics
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import patch

import report

MODELS = ("LLM", "encoder", "pipelines")
PARTS = ("token mask", "parser", "sampling", "files")
REQUESTS = {
    "text → image": "Draw a small red cat on a beach.",
    "text → audio": "Let me hear a high, fast bell.",
    "text → video": "Show me a large blue car at night that moves left fast.",
    "text → text": "What can you do?",
}
ANSWER = 'Here it is: <meta>{"Model": "T-to-I", "Input": "a small red cat on a beach"}</meta>'
AFTER = " That is a small red cat on a beach, just as you wanted to have it."
BAR = 0.05

Interval = tuple[float, float]


@dataclass
class Clock:
    """When what ran, by name, in all threads."""

    ran: dict[str, list[Interval]] = field(default_factory=lambda: defaultdict(list))
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def note(self, name: str, begin: float) -> None:
        end = time.perf_counter()
        with self._lock:
            self.ran[name].append((begin, end))

    def around(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """`function`, timed."""

        @functools.wraps(function)
        def timed(*args: Any, **kwargs: Any) -> Any:
            begin = time.perf_counter()
            try:
                return function(*args, **kwargs)
            finally:
                self.note(name, begin)

        return timed

    def seconds(self, names: Sequence[str], between: Interval) -> float:
        """Seconds of an interval in which at least one of `names` ran."""
        return covered([each for name in names for each in self.ran[name]], between)


def covered(intervals: Sequence[Interval], between: Interval) -> float:
    """How much of `between` lies in one interval or more."""
    total, end = 0.0, between[0]
    for low, high in sorted(intervals):
        low, high = max(low, end), min(high, between[1])
        if high > low:
            total, end = total + high - low, high
    return total


@contextmanager
def timing(clock: Clock, core: Any) -> Iterator[None]:
    """All that is told apart is timed; `core` is the LLM's own module."""
    from modaverse.generation import pool
    from modaverse.generators.runners import RUNNERS
    from modaverse.imagebind import ImageBindEncoder
    from modaverse.language import transcript
    from modaverse.metaresponse import StreamParser
    from modaverse.metaresponse.mask import Matcher

    methods = (
        (ImageBindEncoder, "encode", "encoder"),
        (ImageBindEncoder, "encode_text", "encoder"),
        (Matcher, "allow", "token mask"),
        (Matcher, "accept", "token mask"),
        (StreamParser, "feed_ids", "parser"),
        (transcript, "choose", "sampling"),
        (pool, "write_media", "files"),
    )
    with ExitStack() as stack:
        for owner, name, part in methods:
            timed = clock.around(part, getattr(owner, name))
            stack.enter_context(patch.object(owner, name, timed))
        runs = {name: clock.around("pipelines", run) for name, run in RUNNERS.items()}
        stack.enter_context(patch.dict(RUNNERS, runs))  # type: ignore[arg-type]
        stack.enter_context(patch.object(core, "forward", clock.around("LLM", core.forward)))
        yield


# ------------------------------------------------------------------------------------- what is asked


@dataclass(frozen=True)
class Measured:
    """One request: its wall time, what ran in it, and how many tokens were sampled; seconds."""

    wall: float
    parts: Mapping[str, float]
    models: float
    tokens: int

    @property
    def share(self) -> float:
        """What no model worked in, of the wall time."""
        return 1 - self.models / self.wall


Ask = Callable[[int], int]
"""Answers a request with a seed, and says how many tokens were sampled."""


def measure(clock: Clock, ask: Ask, seed: int) -> Measured:
    begin = time.perf_counter()
    tokens = ask(seed)
    between = begin, time.perf_counter()
    parts = {name: clock.seconds([name], between) for name in (*MODELS, *PARTS)}
    return Measured(between[1] - begin, parts, clock.seconds(MODELS, between), tokens)


def of_mini(profile: str, stack: ExitStack) -> tuple[Any, dict[str, Ask]]:
    """The LLM's module, and requests to a profile as a user makes them."""
    from modaverse import ModaVerse

    modaverse = ModaVerse.from_profile(profile).load()
    language: Any = modaverse.orchestrator.language

    def ask(prompt: str, seed: int) -> int:
        return modaverse.run(prompt, seed=seed).usage.sampled_tokens

    return language.core, {what: functools.partial(ask, prompt) for what, prompt in REQUESTS.items()}


def scripted(stack: ExitStack) -> tuple[Any, dict[str, Ask]]:
    """The same of an LLM that writes one answer, whatever it is asked."""
    from batched_decoding import mini_sized
    from overlap import OneWay

    from modaverse.assembly import open_pool, text_tokenizer
    from modaverse.context import Done, Text
    from modaverse.imagebind import ImageBindEncoder
    from modaverse.interfaces import Sampling
    from modaverse.metaresponse import Vocabulary
    from modaverse.orchestrator import AnswerSettings, Orchestrator
    from modaverse.settings import load_profile

    profile = load_profile("mini")
    profile = profile.model_copy(
        update={"generators": profile.generators.model_copy(update={"cards": ("mini-image",)})}
    )
    language = mini_sized()
    vocabulary = Vocabulary.from_tokenizer(language.tokenizer, ends=sorted(language.script.ends))
    encoder = ImageBindEncoder.from_pretrained(
        profile.encoder.path, tokenizer=text_tokenizer(profile.encoder.tokenizer)
    )
    pool = open_pool(profile, Path(stack.enter_context(tempfile.TemporaryDirectory())))
    stack.callback(pool.close)
    ids = language.tokenizer(ANSWER + AFTER, add_special_tokens=False)["input_ids"]

    def ask(seed: int) -> int:
        mask: Any = OneWay([*ids, language.script.end], vocabulary.added["</meta>"])
        orchestrator = Orchestrator(language, encoder, pool, vocabulary=vocabulary, mask=mask)
        settings = AnswerSettings(seed, Sampling(max_new_tokens=300))
        events = list(
            orchestrator.stream(orchestrator.conversation(), [Text(REQUESTS["text → image"])], settings)
        )
        done = events[-1]
        assert isinstance(done, Done)
        return done.usage.sampled_tokens

    return language.core, {"text → image, scripted": ask}


def rows(measured: Mapping[str, Sequence[Measured]]) -> list[list[str]]:
    """Of each request the run of the median share."""
    lines = []
    for what, runs in measured.items():
        middle = sorted(runs, key=lambda run: run.share)[len(runs) // 2]
        worst = max(run.share for run in runs)
        lines.append(
            [
                what,
                str(middle.tokens),
                f"{1000 * middle.wall:.0f} ms",
                *(f"{1000 * middle.parts[name]:.0f} ms" for name in MODELS),
                f"{100 * middle.share:.1f} %",
                f"{100 * worst:.1f} %",
                *(f"{1000 * middle.parts[name]:.1f} ms" for name in PARTS),
            ]
        )
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--profile", default="mini")
    parser.add_argument("--repeat", type=int, default=7, help="of each request, after one to warm up")
    parser.add_argument("--scripted", action="store_true", help="with an LLM that writes a fixed answer")
    parser.add_argument("--write", action="store_true", help="keep the report in benchmarks/orchestration.md")
    options = parser.parse_args()
    where = report.machine(("torch", "transformers", "diffusers", "llguidance"))
    clock = Clock()
    measured: dict[str, list[Measured]] = {}
    with ExitStack() as stack:
        core, asks = scripted(stack) if options.scripted else of_mini(options.profile, stack)
        stack.enter_context(timing(clock, core))
        for what, ask in asks.items():
            ask(0)
            measured[what] = [measure(clock, ask, seed) for seed in range(1, options.repeat + 1)]
    everything = [run for runs in measured.values() for run in runs]
    share = 1 - sum(run.models for run in everything) / sum(run.wall for run in everything)
    header = (
        "request", "tokens", "wall", *MODELS, "orchestration", "worst", *(f"of it: {name}" for name in PARTS),
    )  # fmt: skip
    parts = [
        where,
        f"Each request {options.repeat} times, warm; shown is its run of the median share. Orchestration "
        f"takes {100 * share:.1f} % of the wall time of all requests (bar: {100 * BAR:g} %), and of the "
        f"median one's {100 * statistics.median(run.share for run in everything):.1f} %.",
        report.table(header, rows(measured)),
    ]
    if options.write:
        report.write(Path(__file__).with_suffix(".md"), "Orchestration beside the models", parts)
    else:
        print("\n\n".join(parts))


if __name__ == "__main__":
    main()
