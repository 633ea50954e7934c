"""Tokens per second of one answer, next to `transformers.generate` on the same model, in one process.

    python benchmarks/decoding.py                 mini's LLM with its adapter
    python benchmarks/decoding.py --random        an LLM of mini's size with random weights
    python benchmarks/decoding.py --write         keeps the report in benchmarks/decoding.md

Both sides get the same positions and decode greedily, and neither may end: they write equally many tokens.
Ours forbids the tokens that no answer may have, as it always does; with "mask" it has the token mask as
well, which `generate` has no counterpart of. Sides take turns, and ratios are of the medians, of wall and
of CPU time; the latter can be trusted on a busy machine too.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import report
import torch

from modaverse.interfaces import Sampling
from modaverse.language.decoding import CachedTranscript
from modaverse.language.model import MultimodalLM
from modaverse.metaresponse import Catalogue, TokenMask, Vocabulary

REQUEST = "Draw a small red cat on a beach, and then tell me what you see in it. "
BAR = 1.0

Side = Callable[[], Callable[[], list[int]]]
"""Makes a request ready, and gives what decodes it, once, into tokens. Only the latter is timed."""


@dataclass
class Times:
    """Seconds of wall and of CPU time of each round, and the tokens of the last one."""

    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    tokens: list[int] = field(default_factory=list)

    def run(self, side: Side) -> None:
        decode = side()
        wall, cpu = time.perf_counter(), time.process_time()
        self.tokens = decode()
        self.wall.append(time.perf_counter() - wall)
        self.cpu.append(time.process_time() - cpu)


def ours(model: MultimodalLM, prompt: str, count: int, mask: TokenMask | None = None) -> Side:
    def ready() -> Callable[[], list[int]]:
        transcript = _asked(model, prompt)
        matcher = None if mask is None else mask.start({}, count)

        def decode() -> list[int]:
            tokens = []
            for _ in range(count):
                tokens.append(transcript.next_token(None if matcher is None else matcher.allow))
                if matcher is not None:
                    matcher.accept(tokens[-1])
            return tokens

        return decode

    return ready


def theirs(model: MultimodalLM, prompt: str, count: int) -> Side:
    from transformers import GenerationConfig

    ids = [token for span in _asked(model, prompt).dump()["spans"] for token in span["ids"]]
    given = torch.tensor([ids], device=model.device)
    settings = GenerationConfig(
        max_new_tokens=count, do_sample=False, use_cache=True, eos_token_id=None, pad_token_id=0
    )

    @torch.inference_mode()
    def decode() -> list[int]:
        model.core.generation_config.eos_token_id = None  # or it would end where an answer does
        made = model.core.generate(given, attention_mask=torch.ones_like(given), generation_config=settings)
        return made[0, len(ids) :].tolist()

    return lambda: decode


def _asked(model: MultimodalLM, prompt: str) -> CachedTranscript:
    transcript = model.transcript(seed=0, sampling=Sampling())
    transcript.add_user_start()
    transcript.add_text(prompt)
    transcript.add_user_end()
    return transcript


def side_by_side(sides: Sequence[Side], rounds: int) -> list[Times]:
    """Each side `rounds` times, by turns, after a round to warm up."""
    for side in sides:
        side()()
    measured = [Times() for _ in sides]
    for _ in range(rounds):
        for side, times in zip(sides, measured, strict=True):
            times.run(side)
    return measured


def without_end(model: MultimodalLM) -> MultimodalLM:
    """The model, which may end no answer."""
    model.token_bias[sorted(model.script.ends)] = -torch.inf
    return model


def of_profile(name: str) -> tuple[MultimodalLM, TokenMask]:
    from modaverse.assembly import load_language, pick_device
    from modaverse.generators.card import load_card
    from modaverse.settings import load_profile

    profile = load_profile(name)
    model = load_language(profile, pick_device(profile.device))
    specs = [call.spec() for card in profile.generators.cards for call in load_card(card).calls]
    return without_end(model), _mask(model, Catalogue(specs))


def of_random_weights() -> tuple[MultimodalLM, TokenMask]:
    from batched_decoding import mini_sized, token_mask

    model = mini_sized()
    return model, token_mask(model)


def _mask(model: MultimodalLM, catalogue: Catalogue) -> TokenMask:
    vocabulary = Vocabulary.from_tokenizer(model.tokenizer, ends=sorted(model.script.ends))
    return TokenMask.compile(vocabulary, catalogue)


def alike(one: Sequence[int], other: Sequence[int]) -> str:
    same = next((i for i, (a, b) in enumerate(zip(one, other, strict=True)) if a != b), len(one))
    return "all" if same == len(one) else f"the first {same}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--profile", default="mini")
    parser.add_argument("--random", action="store_true", help="an LLM of mini's size with random weights")
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--write", action="store_true", help="keep the report in benchmarks/decoding.md")
    options = parser.parse_args()
    where = report.machine(("torch", "transformers", "llguidance"))
    model, mask = of_random_weights() if options.random else of_profile(options.profile)
    lines = []
    for repeat in (1, 8):
        prompt, count = REQUEST * repeat, options.tokens
        sides = [theirs(model, prompt, count), ours(model, prompt, count), ours(model, prompt, count, mask)]
        generate, *others = side_by_side(sides, options.rounds)
        for name, times in zip(("", "mask"), others, strict=True):
            wall, cpu = (
                statistics.median(theirs) / statistics.median(own)
                for theirs, own in ((generate.wall, times.wall), (generate.cpu, times.cpu))
            )
            speeds = [f"{count / statistics.median(side.wall):,.0f}" for side in (generate, times)]
            same = alike(generate.tokens, times.tokens)
            lines.append([name, len(prompt), *speeds, f"{wall:.2f} ×", f"{cpu:.2f} ×", same])
    size = sum(parameter.numel() for parameter in model.core.parameters())
    weights = "random weights" if options.random else f"the profile {options.profile}"
    header = (
        "", "request, characters", "tokens/s, transformers.generate", "tokens/s, ours", "wall time",
        "CPU time", "tokens alike",
    )  # fmt: skip
    parts = [
        where,
        f"{size / 1e6:.1f} million parameters ({weights}), {torch.get_num_threads()} threads, "
        f"{options.tokens} tokens, medians of {options.rounds} rounds. Bar: {BAR:.1f} ×, without the mask.",
        report.table(header, lines),
    ]
    if options.write:
        report.write(Path(__file__).with_suffix(".md"), "Decoding one answer", parts)
    else:
        print("\n\n".join(parts))


if __name__ == "__main__":
    main()
