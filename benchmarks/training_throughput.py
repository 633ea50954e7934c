"""Rows per second of `modaverse.training`, next to a loop in the manner of the released code, in one process.

    python benchmarks/training_throughput.py [--cases mini 100m 100m-huge] [--rows 256] [--rounds 3]

Both sides train the same parameters of the same LLM on the same rows, media files and batch size, in the same
precision, on as many threads. What differs:

- released: a file is decoded, and encoded alone, whenever its row comes up; rows come in random order, padded
  to the longest of their batch; attention is transformers' default; the output layer sees every position,
  and the accuracy of every position is taken.
- released, no encoder: the same loop, but the embeddings are there already.
- modaverse.training: `train` as `modaverse train` calls it. Embeddings come from the cache, which was filled
  before; what that took is measured apart. Checkpoints, written after the last step, are not counted.

The released code does more that takes time, and that is left out here: it reads and tokenises text anew in
each step, and trains the whole embedding tables. Its encoder is ImageBind-huge, as in the case 100m-huge; the
other two have one of mini's size, next to which an LLM of 110M has most of the work.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import report
import torch
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerBase

from modaverse.context import Modality
from modaverse.imagebind import ImageBind, ImageBindConfig, ImageBindEncoder
from modaverse.language.batch import IGNORED
from modaverse.language.model import MultimodalLM
from modaverse.media import write_media
from modaverse.toybox.recipes.encoder import mini_encoder_config
from modaverse.toybox.recipes.llm import build_llm
from modaverse.toybox.rows import sample_rows
from modaverse.toybox.tokenizer import load_tokenizer
from modaverse.training.batches import BatchPlan
from modaverse.training.dataset import Transcripts, conversation, read_rows
from modaverse.training.features import Features
from modaverse.training.progress import Progress, read_log
from modaverse.training.record import LOG
from modaverse.training.rows import MediaPart, Row, write_jsonl
from modaverse.training.run import build_model, train
from modaverse.training.settings import TrainSettings
from modaverse.training.sources import Source, SourceReader
from modaverse.training.uris import resolve

EPOCHS = 3  # of the run for which the encoding is counted too
SIDES = ("released", "released, no encoder", "modaverse.training")


def llama_100m(tokenizer: PreTrainedTokenizerBase) -> LlamaForCausalLM:
    """110 million parameters, 25 of them in a table of a usual size; mini's tokenizer uses its first rows."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=32_000,
        hidden_size=768,
        intermediate_size=2048,
        num_hidden_layers=12,
        num_attention_heads=12,
        max_position_embeddings=2048,
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return LlamaForCausalLM(config)


@dataclass(frozen=True)
class Case:
    """Two models, and how many of the rows there is time for."""

    llm: Callable[[PreTrainedTokenizerBase], LlamaForCausalLM]
    encoder: Callable[[PreTrainedTokenizerBase], ImageBindConfig]
    about: tuple[str, str]
    share: float = 1.0
    batch: int = 16


MINI, HUGE = "mini's size", "ImageBind-huge's size"
CASES = {
    "mini": Case(build_llm, mini_encoder_config, ("Llama of mini's size", MINI)),
    "100m": Case(llama_100m, mini_encoder_config, ("Llama of 110M", MINI)),
    "100m-huge": Case(llama_100m, lambda _: ImageBindConfig(), ("Llama of 110M", HUGE), 1 / 16, 4),
}


# ------------------------------------------------------------------------------------------ the data


def write_data(path: Path, count: int) -> Path:
    """Rows like those that mini is trained on, with a file beside them for each of their media."""

    def with_files(row: Row) -> Row:
        turns = (replace(turn, parts=tuple(map(filed, turn.parts))) for turn in row.turns)
        return replace(row, turns=tuple(turns))

    def filed(part: object) -> object:
        if not isinstance(part, MediaPart):
            return part
        render = resolve(part.uri, path.parent)
        return MediaPart(f"media/{write_media(render, path.parent / 'media').path.name}")

    write_jsonl(path, map(with_files, sample_rows(count, seed=0)))
    return path


class EachTime:
    """Decodes a medium and encodes it, alone, whenever it is asked for."""

    def __init__(self, encoder: ImageBindEncoder, sources: dict[str, Source]) -> None:
        self._encoder, self._sources = encoder, sources

    def get(self, modality: Modality, identity: str) -> torch.Tensor:
        return self._encoder.encode_decoded([self._sources[identity].decode()])[0]


# ---------------------------------------------------------------------------------------- the clocks


@dataclass
class Clock:
    """When each step was done. The first step warms up and does not count."""

    marks: list[tuple[float, float]] = field(default_factory=list)

    def step(self) -> None:
        self.marks.append((time.perf_counter(), time.process_time()))

    def pace(self, rows: Sequence[int]) -> Pace:
        """Of an epoch whose steps had so many rows."""
        wall, cpu = (self.marks[-1][i] - self.marks[0][i] for i in (0, 1))
        return Pace(sum(rows[1:]) / wall, sum(rows[1:]) / cpu)


@dataclass(frozen=True)
class Pace:
    """Rows a second of wall time and of CPU time."""

    wall: float
    cpu: float


# ----------------------------------------------------------------------------------------- the sides


def released_epoch(lm: MultimodalLM, rows: Transcripts, size: int, seed: int, precision: str) -> Pace:
    """An epoch of the released manner, with embeddings from wherever `rows` has them."""
    trained = [parameter for parameter in lm.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=2e-4, weight_decay=0.0, fused=True)
    order = np.random.default_rng(seed).permutation(len(rows))
    clock, counts = Clock(), []
    lm.train()
    for start in range(0, len(order), size):
        chosen = order[start : start + size]
        batch = lm.collate([rows[int(row)] for row in chosen])
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"):
            found = lm(**batch)
        right = found.logits[:, :-1].argmax(-1) == batch["labels"][:, 1:]
        (right & (batch["labels"][:, 1:] != IGNORED)).sum().item()
        found.loss.backward()
        nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        counts.append(len(chosen))
        clock.step()
    return clock.pace(counts)


def modaverse_epoch(settings: TrainSettings, out: Path, encoder: ImageBindEncoder) -> Pace:
    """An epoch of `modaverse.training`."""
    clock = Clock()

    def told(progress: Progress) -> None:
        if progress.stage == "all":
            clock.step()

    train(settings, out, encoder=encoder, report=told)
    return clock.pace([row["rows"] for row in read_log(out / LOG) if "rows" in row])


# --------------------------------------------------------------------------------------- measurement


@dataclass
class Measured:
    """What came of a case."""

    paces: dict[str, list[Pace]]
    rows: int
    media: int
    encoding: float  # seconds to encode each medium once
    padding: tuple[float, float]  # share of the positions: in random order, and grouped
    apart: float  # difference of the losses that both sides have of the same rows

    def median(self, side: str, kind: str = "wall") -> float:
        return statistics.median(getattr(pace, kind) for pace in self.paces[side])

    def ratio(self, kind: str = "wall") -> float:
        return self.median(SIDES[2], kind) / self.median(SIDES[0], kind)

    def from_nothing(self) -> float:
        """The ratio for a run of EPOCHS that begins with an empty cache."""
        seconds = self.encoding + EPOCHS * self.rows / self.median(SIDES[2])
        return EPOCHS * self.rows / self.median(SIDES[0]) / seconds


def measure(case: Case, data: Path, count: int, rounds: int, precision: str, folder: Path) -> Measured:
    tokenizer = load_tokenizer()
    case.llm(tokenizer).save_pretrained(folder / "llm")
    tokenizer.save_pretrained(folder / "llm")
    torch.manual_seed(0)
    encoder = ImageBindEncoder(ImageBind(case.encoder(tokenizer), modalities=("vision", "audio")))
    settings = TrainSettings.parse(
        {
            "data": (data,),
            "llm": str(folder / "llm"),
            "encoder": folder / "encoder",
            "batch_size": case.batch,
            "epochs": 1.0,
            "precision": precision,
            "feature_cache": folder / "features",
            "log_every": 1,
        }
    )
    lm = build_model(settings.model_copy(update={"attention": "sdpa"}), encoder.dim, "")
    reader = SourceReader()
    rows = Transcripts(
        (conversation(placed, reader) for placed in read_rows([data])),
        lm.script,
        k=lm.config.projector.k,
        limit=lm.context_length,
    )
    features = Features(encoder, folder / "features")
    begun = time.perf_counter()
    media = features.compute(rows.sources)
    encoding = time.perf_counter() - begun
    each = EachTime(encoder, rows.sources)
    apart = difference(lm, rows, features, each)
    paces: dict[str, list[Pace]] = {side: [] for side in SIDES}
    for index in range(rounds):
        rows.attach(each)  # type: ignore[arg-type]
        paces[SIDES[0]].append(released_epoch(lm, rows, case.batch, index, precision))
        rows.attach(features)
        paces[SIDES[1]].append(released_epoch(lm, rows, case.batch, index, precision))
        mine = settings.model_copy(update={"seed": index})
        paces[SIDES[2]].append(modaverse_epoch(mine, folder / f"run-{index}", encoder))
        said = ", ".join(f"{side} {each[-1].wall:.2f}" for side, each in paces.items())
        print(f"round {index + 1}, rows/s: {said}", file=sys.stderr, flush=True)
    plans = [
        BatchPlan(rows.lengths, case.batch, None, window, epochs=1.0, steps=None, seed=0)
        for window in (1, settings.length_window)
    ]
    return Measured(paces, count, media, encoding, (plans[0].padding(), plans[1].padding()), apart)


@torch.no_grad()
def difference(lm: MultimodalLM, rows: Transcripts, features: Features, each: EachTime) -> float:
    """How far the losses of a few rows are apart: all positions, encoded now; those that count, cached."""
    lm.eval()
    losses = []
    for store, whole in ((each, True), (features, False)):
        rows.attach(store)  # type: ignore[arg-type]
        batch = lm.collate([rows[index] for index in range(min(4, len(rows)))])
        losses.append(float(lm(**batch, return_logits=whole).loss))
    return abs(losses[0] - losses[1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--rows", type=int, default=256, help="an epoch; 100m-huge takes a sixteenth")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--precision", choices=("float32", "bfloat16"), default="bfloat16")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".md"))
    options = parser.parse_args()
    where = report.machine(["torch", "transformers", "peft"])
    speeds, notes = [], []
    for name in options.cases:
        case = CASES[name]
        count = round(options.rows * case.share)
        if count < 2 * case.batch:
            parser.error(f"{name} needs {round(2 * case.batch / case.share)} rows at least")
        with tempfile.TemporaryDirectory() as scratch:
            data = write_data(Path(scratch, "rows.jsonl"), count)
            found = measure(case, data, count, options.rounds, options.precision, Path(scratch))
        speeds.append(
            (
                *case.about,
                *(f"{found.median(side):.2f}" for side in SIDES),
                f"{found.ratio():.1f}×",
                f"{found.ratio('cpu'):.1f}×",
                f"{found.from_nothing():.1f}×",
            )
        )
        notes.append(
            f"- {case.about[0]}, encoder of {case.about[1]}: {count} rows in batches of {case.batch} with "
            f"{found.media} different media, which took {found.encoding:.1f} s to encode once. Padding is "
            f"{found.padding[0]:.0%} of the positions in random order and {found.padding[1]:.0%} grouped. "
            f"The losses of both sides on the same rows differ by {found.apart:.1e}."
        )
    header = (
        "LLM",
        "encoder",
        *(f"{side}: rows/s" for side in SIDES),
        "ratio",
        "of CPU time",
        f"with encoding, {EPOCHS} epochs",
    )
    about = (
        f"Medians of {options.rounds} epochs in which the sides take turns, without the first step of each. "
        f"{options.precision}, {torch.get_num_threads()} threads, random weights, LoRA of rank 32 on q, k, v "
        "and o, rows of Toybox. Ratios are modaverse.training's rows a second over those of the released "
        "manner; in the last column the cache is empty at the beginning."
    )
    sides = "What the sides do stands at the top of `benchmarks/training_throughput.py`."
    report.write(
        options.out,
        "Training throughput",
        [where, about, sides, report.table(header, speeds), "\n".join(notes)],
    )


if __name__ == "__main__":
    main()
