"""The times of a batch's stages on this machine, for `scale_model.py`.

    python benchmarks/stage_times.py stages.json [--profile mini] [--rows 1 4 16] [--share 1 4 8] [--rounds 3]

Measured are a decoding step of so many rows, a run of each generator with so many calls, one medium in the
encoder, and what the driver does for a row and for a medium. Times are wall times on a GPU, and CPU times
of one thread otherwise, which hold on a busy machine too; of several rounds the quickest counts.

The LLM is the profile's; where its weights are not there, one of mini's size with random weights, which takes
as long. A part that cannot be measured is left out, with a line that says why.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import batched_decoding
import numpy as np
import report
import torch
from batch_overhead import measure as batch_overhead

from modaverse.assembly import TrunkEncoder, load_language, media_limits, open_generators, pick_device
from modaverse.errors import ModaVerseError
from modaverse.interfaces import GenerationRequest, Generator, Pixels
from modaverse.language.model import MultimodalLM
from modaverse.media import decode, read_media, write_media
from modaverse.settings import Profile, load_profile

TOKENS = 32
OVERHEAD_ROWS = 500


def quickest(work: Callable[[], object], device: torch.device, rounds: int) -> float:
    """Seconds of the quickest round, after one that warms up."""

    def clock() -> float:
        if device.type == "cuda":
            torch.cuda.synchronize(device)
            return time.perf_counter()
        return time.process_time()

    found = []
    for _ in range(rounds + 1):
        begin = clock()
        work()
        found.append(clock() - begin)
    return min(found[1:])


def language(profile: Profile, device: torch.device) -> tuple[MultimodalLM, str]:
    """An LLM that ends no answer, and what it is."""
    try:
        model = load_language(profile, device)
    except ModaVerseError as error:
        print(f"LLM of mini's size with random weights instead: {error.message}", file=sys.stderr)
        return batched_decoding.mini_sized().place(device), "mini's size, random weights"
    model.token_bias[sorted(model.script.ends)] = -torch.inf
    return model, profile.name


def steps(model: MultimodalLM, device: torch.device, rows: Sequence[int], rounds: int) -> dict[int, float]:
    """Seconds of a step of so many rows, their requests and one spliced medium each included."""
    batched_decoding.DIM = model.config.embedding_dim or batched_decoding.DIM  # of the media that it splices
    mask = batched_decoding.token_mask(model)

    def write(count: int) -> None:
        batched_decoding.together(model, count, batched_decoding.WARM, mask, TOKENS)

    return {count: quickest(lambda: write(count), device, rounds) / TOKENS for count in rows}  # noqa: B023


def runs(generator: Generator, device: torch.device, share: Sequence[int], rounds: int) -> dict[int, float]:
    """Seconds of a run of so many calls; of one alone where calls cannot share a run."""
    generator.load()

    def make(count: int) -> None:
        requests = [
            GenerationRequest(generator.spec.model, f"a small red cat, number {number}", number)
            for number in range(count)
        ]
        quiet = {"progress": lambda step, of: None, "cancelled": lambda: False}
        if count == 1:
            generator.generate(requests[0], **quiet)
        else:
            generator.generate_together(requests, **quiet)  # type: ignore[attr-defined]

    together = hasattr(generator, "generate_together")
    counts = share if together else [1]
    return {count: quickest(lambda: make(count), device, rounds) for count in counts}  # noqa: B023


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("out", type=Path)
    parser.add_argument("--profile", default="mini")
    parser.add_argument("--rows", type=int, nargs="+", default=[1, 4, 16])
    parser.add_argument("--share", type=int, nargs="+", default=[1, 4, 8])
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    profile = load_profile(options.profile)
    device = pick_device(profile.device)
    if device.type == "cpu":
        torch.set_num_threads(1)
    limits = media_limits(profile)
    with tempfile.TemporaryDirectory() as folder, torch.inference_mode():
        model, name = language(profile, device)
        pixels = np.random.default_rng(0).integers(0, 256, (512, 512, 3), np.uint8)
        picture = write_media(Pixels(pixels), folder)
        encoder = TrunkEncoder(profile.encoder, device, limits, dim=0)
        driver = torch.device("cpu")
        found = {
            "step": steps(model, device, options.rows, options.rounds),
            "generate": {},
            "encode": quickest(lambda: encoder.encode([picture]), device, options.rounds),
            "look": quickest(lambda: decode(read_media(picture.path), limits), driver, options.rounds),
            "row": batch_overhead(OVERHEAD_ROWS)["all cpu"] / OVERHEAD_ROWS,
        }
        for card in profile.generators.cards:
            try:
                alone = profile.generators.model_copy(update={"cards": (card,)})
                for each in open_generators(profile.model_copy(update={"generators": alone}), device):
                    if each.spec.source is None:
                        times = runs(each, device, options.share, options.rounds)
                        found["generate"][each.spec.model] = times
            except ModaVerseError as error:
                print(f"{card} is left out: {error.message}", file=sys.stderr)
    what = torch.cuda.get_device_name(device) if device.type == "cuda" else "one thread of the CPU"
    parts = f"LLM: {name}; generators: {profile.name}"
    found["machine"] = f"{what}; {parts}; {report.machine(['modaverse', 'torch'])}"
    options.out.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    print(f"saved: {options.out}")


if __name__ == "__main__":
    main()
