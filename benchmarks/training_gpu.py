"""Tokens per second and MFU of LoRA training on a GPU, next to plain peft and transformers, in one process.

    python benchmarks/training_gpu.py [--batch 8] [--steps 20] [--checkpointing] [--peak TFLOPS] [--out FILE]

The LLM is a Llama of Vicuna-7B's shape with random weights in bfloat16, with the paper's LoRA; rows have 512
positions, of which the second half is the answer. Both sides have the same rows, labels, batch size, LoRA,
precision and optimiser (AdamW), and take their steps one after the other; without checkpointing 8 rows need
some 60 GB.

- plain: peft's adapter and transformers' `Trainer` as it is.
- modaverse.training: its `Engine`, with the new tokens' rows and three linear projectors training as well.

MFU counts what the model needs, not what a side computes: matrices that are frozen cost a product forward and
one backward, LoRA's cost two backward, a position attends to those before it, and only positions with a loss
go through the output layer. Without a GPU nothing is run.
"""

from __future__ import annotations

import argparse
import gc
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import report
import torch
from peft import LoraConfig, get_peft_model
from torch.utils.data import Dataset
from transformers import AutoModelForCausalLM, LlamaConfig, Trainer, TrainerCallback, TrainingArguments

from modaverse.language.batch import IGNORED, Example
from modaverse.language.prompt import Tokens
from modaverse.language.storage import quiet
from modaverse.settings import LoraSettings, ProjectorSettings
from modaverse.toybox.tokenizer import load_tokenizer
from modaverse.training.batches import BatchPlan
from modaverse.training.engine import Engine, Stage
from modaverse.training.progress import LossLog
from modaverse.training.run import build_model
from modaverse.training.settings import PARTS, TrainSettings

LENGTH = 512
WARM_UP = 3  # steps that do not count
LORA = LoraSettings()  # the paper's
CHECKPOINTING = {"gradient_checkpointing": True, "gradient_checkpointing_kwargs": {"use_reentrant": False}}
VICUNA = LlamaConfig(
    vocab_size=32_000,
    hidden_size=4096,
    intermediate_size=11_008,
    num_hidden_layers=32,
    num_attention_heads=32,
    num_key_value_heads=32,
    max_position_embeddings=2048,
)
PEAKS = {"H200": 989, "H100 80GB HBM3": 989, "H100 PCIe": 756, "A100": 312, "L40S": 362, "RTX 4090": 165}
"""Dense bfloat16 products in TFLOP/s, as NVIDIA's data sheets have them, by a part of the device's name."""


# -------------------------------------------------------------------------------------- what it takes


@dataclass(frozen=True)
class Work:
    """FLOPs of one row in one step, forward and backward."""

    matrices: int  # frozen ones of the layers
    lora: int
    attention: int
    output: int

    @property
    def total(self) -> int:
        return self.matrices + self.lora + self.attention + self.output


def work(config: LlamaConfig, rank: int, length: int, answered: int) -> Work:
    """Of a row of `length` positions, `answered` of which carry loss, with LoRA on q, k, v and o."""
    hidden, inner, layers = config.hidden_size, config.intermediate_size, config.num_hidden_layers
    head = config.head_dim or hidden // config.num_attention_heads
    queries, keys = config.num_attention_heads * head, config.num_key_value_heads * head
    shapes = [(hidden, queries), (hidden, keys), (hidden, keys), (queries, hidden)]
    adapted = sum(rows * columns for rows, columns in shapes)
    updates = sum(rank * (rows + columns) for rows, columns in shapes)
    return Work(
        matrices=4 * length * layers * (adapted + 3 * hidden * inner),
        lora=6 * length * layers * updates,
        # Position p attends to p + 1 positions: two products with them forward, four backward.
        attention=12 * layers * queries * (length * (length + 1) // 2),
        output=4 * answered * hidden * config.vocab_size,
    )


def peak_of(device: str) -> float | None:
    """TFLOP/s of a device by its name, if it is known."""
    return next((float(peak) for name, peak in PEAKS.items() if name in device), None)


# ------------------------------------------------------------------------------------------ the rows


class Rows(Dataset[Any]):
    """Random tokens: `length` positions each, the second half sampled."""

    def __init__(self, count: int, length: int, vocabulary: int) -> None:
        self.ids = np.random.default_rng(0).integers(0, vocabulary, (count, length))
        self.lengths = np.full(count, length)
        self.given = length // 2

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int) -> Example:
        ids = tuple(self.ids[index].tolist())
        return Example([Tokens(ids[: self.given]), Tokens(ids[self.given :], sampled=True)], {})


class PlainRows(Rows):
    """The same, as transformers' `Trainer` takes them."""

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:  # type: ignore[override]
        ids = torch.from_numpy(self.ids[index])
        labels = ids.clone()
        labels[: self.given] = IGNORED
        return {"input_ids": ids, "labels": labels, "attention_mask": torch.ones_like(ids)}


# ----------------------------------------------------------------------------------------- the sides


@dataclass(frozen=True)
class Run:
    """What both sides are told."""

    llm: Path
    scratch: Path
    batch: int
    steps: int
    length: int
    vocabulary: int
    checkpointing: bool
    lora: LoraSettings = LORA


class Timer(TrainerCallback):
    """Seconds of each step but the first few. The device has done a step when it is counted."""

    def __init__(self) -> None:
        self.marks: list[float] = []

    def on_step_end(self, *_: Any, **__: Any) -> None:
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        self.marks.append(time.perf_counter())

    @property
    def seconds(self) -> list[float]:
        return np.diff(self.marks[WARM_UP - 1 :]).tolist()


def plain(run: Run) -> list[float]:
    """Seconds of each step of peft and transformers."""
    llm = AutoModelForCausalLM.from_pretrained(run.llm, dtype=torch.bfloat16)
    lora = LoraConfig(
        task_type="CAUSAL_LM",
        r=run.lora.r,
        lora_alpha=run.lora.alpha,
        lora_dropout=run.lora.dropout,
        target_modules=list(run.lora.target_modules),
    )
    with quiet():
        model = get_peft_model(llm, lora)
    arguments = TrainingArguments(
        output_dir=str(run.scratch / "plain"),
        max_steps=run.steps + WARM_UP,
        per_device_train_batch_size=run.batch,
        learning_rate=2e-4,
        bf16=True,
        **(CHECKPOINTING if run.checkpointing else {}),
        use_cpu=not torch.cuda.is_available(),
        save_strategy="no",
        logging_strategy="no",
        report_to="none",
        disable_tqdm=True,
    )
    timer = Timer()
    rows = PlainRows(4 * run.batch, run.length, run.vocabulary)
    Trainer(model, arguments, train_dataset=rows, callbacks=[timer]).train()
    return timer.seconds


def modaverse(run: Run) -> list[float]:
    """Seconds of each step of `modaverse.training`."""
    settings = TrainSettings.parse(
        {
            "data": (run.llm,),
            "llm": str(run.llm),
            "encoder": run.llm,
            "projector": ProjectorSettings(kind="linear", k=1),
            "lora": run.lora,
            "steps": run.steps + WARM_UP,
            "batch_size": run.batch,
            "precision": "bfloat16",
            "llm_dtype": "bfloat16",
            "checkpointing": run.checkpointing,
        }
    )
    rows = Rows(4 * run.batch, run.length, run.vocabulary)
    plan = BatchPlan(rows.lengths, run.batch, None, 1, epochs=None, steps=settings.steps, seed=0)
    timer = Timer()
    engine = Engine(
        build_model(settings, 1024, ""),
        Stage("all", PARTS, plan, run.scratch / "checkpoints"),
        settings,
        rows,  # type: ignore[arg-type]
        held_out=None,
        log=LossLog(run.scratch / "log.jsonl"),
        report=lambda progress: None,
        stop=lambda: False,
    )
    engine.add_callback(timer)
    engine.run()
    return timer.seconds


SIDES: dict[str, Callable[[Run], list[float]]] = {
    "plain peft + transformers": plain,
    "modaverse.training": modaverse,
}


def write_llm(config: LlamaConfig, folder: Path, device: str) -> None:
    """A checkpoint of that shape with random weights, and a tokenizer with fewer tokens than its table."""
    with torch.device(device):
        llm = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    llm.save_pretrained(folder)
    load_tokenizer().save_pretrained(folder)


# ----------------------------------------------------------------------------------------- the report


@dataclass(frozen=True)
class Measured:
    """Seconds of each step of a side, and the most memory that it took, in GB."""

    seconds: Sequence[float]
    memory: float


def measure(run: Run) -> dict[str, Measured]:
    found = {}
    for name, side in SIDES.items():
        torch.cuda.reset_peak_memory_stats()
        seconds = side(run)
        found[name] = Measured(seconds, torch.cuda.max_memory_allocated() / 1e9)
        gc.collect()  # trainers hold themselves
        torch.cuda.empty_cache()
    return found


def lines(found: dict[str, Measured], run: Run, flops: int, peak: float | None) -> list[tuple[str, ...]]:
    """Cells of the table; `flops` are those of one row, `peak` is in TFLOP/s."""
    medians = {name: statistics.median(one.seconds) for name, one in found.items()}
    first = next(iter(medians.values()))
    return [
        (
            name,
            f"{run.batch * run.length / seconds:,.0f}",
            f"{first / seconds:.2f}×",
            "unknown" if peak is None else f"{flops * run.batch / seconds / (peak * 1e12):.1%}",
            f"{found[name].memory:.1f} GB",
        )
        for name, seconds in medians.items()
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--steps", type=int, default=20, help="that count")
    parser.add_argument("--checkpointing", action="store_true")
    parser.add_argument("--peak", type=float, help="TFLOP/s of the GPU, where it is not known")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".md"))
    options = parser.parse_args()
    if not torch.cuda.is_available():
        print("There is no GPU here, so nothing was run and nothing was written.")
        return
    device = torch.cuda.get_device_name()
    where = report.machine(["torch", "transformers", "peft"])
    peak = options.peak or peak_of(device)
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        write_llm(VICUNA, scratch / "llm", "cuda")
        gc.collect()
        torch.cuda.empty_cache()
        run = Run(
            llm=scratch / "llm",
            scratch=scratch,
            batch=options.batch,
            steps=options.steps,
            length=LENGTH,
            vocabulary=VICUNA.vocab_size,
            checkpointing=options.checkpointing,
        )
        found = measure(run)
    need = work(VICUNA, LORA.r, LENGTH, LENGTH - LENGTH // 2)
    header = ("", "tokens/s", "ratio", "MFU", "peak memory")
    about = (
        f"{device}. Llama of Vicuna-7B's shape, random weights in bfloat16, LoRA of rank {LORA.r} on q, k, v "
        f"and o, {options.batch} rows of {LENGTH} positions a step, activations "
        f"{'computed twice' if options.checkpointing else 'kept'}. Medians of {options.steps} steps. "
        f"A row needs {need.total / 1e12:.1f} TFLOP; MFU is of {peak or 'unknown'} TFLOP/s."
    )
    sides = "What the sides do stands at the top of `benchmarks/training_gpu.py`."
    table = report.table(header, lines(found, run, need.total, peak))
    report.write(options.out, "Training on a GPU", [where, about, sides, table])


if __name__ == "__main__":
    main()
