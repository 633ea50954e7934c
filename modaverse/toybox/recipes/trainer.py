"""The loop that trains each part of `mini`: fixed seeds, checkpoints, exact resume, an average of weights.

A `Recipe` says what to train, the loop how. Batches are a pure function of the step, so that a run which was
killed and resumed sees the same data as one that was not. All state lies in one safetensors file, which is
replaced atomically: weights, their average, the optimiser's moments and the step.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from modaverse.errors import CheckpointError, ModaVerseError, StorageError

CHECKPOINT = "checkpoint.safetensors"
LOG = "log.jsonl"
ADAMW_STATE = ("step", "exp_avg", "exp_avg_sq")

Batch = Any
Measures = dict[str, float]


@dataclass(frozen=True, slots=True)
class Schedule:
    """How long and how fast: linear warm-up, then a cosine down to `final_rate` of the peak."""

    steps: int
    learning_rate: float = 1e-3
    warmup: int = 200
    final_rate: float = 0.05
    weight_decay: float = 0.01
    beta2: float = 0.99
    clip: float = 1.0
    ema: float = 0.0
    muon: bool = False  # for the matrices of repeated blocks; AdamW has the rest
    muon_filters: bool = False  # for their convolutions too, each taken as a matrix (out, in · kernel)
    bfloat16: bool = True

    def rate(self, step: int) -> float:
        """Learning rate of a step, counted from 0."""
        if step < self.warmup:
            return self.learning_rate * (step + 1) / self.warmup
        done = (step - self.warmup) / max(1, self.steps - self.warmup)
        cosine = 0.5 * (1 + math.cos(math.pi * min(1.0, done)))
        return self.learning_rate * (self.final_rate + (1 - self.final_rate) * cosine)


@dataclass(frozen=True, slots=True)
class Recipe:
    """One part to train.

    `build` makes the module that trains, `batch(step)` its data, `loss(module, batch)` the loss and the
    numbers to log, `evaluate(module)` the numbers that say how good it is, `export(module, folder)` writes
    it in the form that is loaded later. `module` is the averaged one in the last two where `ema` is set.
    """

    name: str
    schedule: Schedule
    build: Callable[[], nn.Module]
    batch: Callable[[int], Batch]
    loss: Callable[[nn.Module, Batch], tuple[Tensor, Measures]]
    evaluate: Callable[[nn.Module], Measures]
    export: Callable[[nn.Module, Path], None]
    evaluate_every: int = 500


@dataclass(frozen=True, slots=True)
class Progress:
    """What the loop tells while it runs; `evaluation` is None between evaluations."""

    step: int
    steps: int
    loss: float
    seconds_per_step: float
    measures: Mapping[str, float]
    evaluation: Mapping[str, float] | None = None


Report = Callable[[Progress], None]


def train(
    recipe: Recipe,
    folder: Path,
    *,
    report: Report = lambda progress: None,
    resume: bool = True,
    stop_after: int | None = None,
    checkpoint_seconds: float = 120.0,
    log_every: int = 20,
) -> Measures:
    """Train a recipe in `folder`, from its checkpoint where there is one and `resume` is set.

    `stop_after` ends the call after so many steps, with a checkpoint. Returns the last evaluation.
    Ctrl-C saves a checkpoint before it goes on its way.

    Raises:
        ModaVerseError: the loss is not finite; the last good checkpoint is kept.
        CheckpointError: the checkpoint belongs to another recipe.
        StorageError: the checkpoint could not be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    state = _State(recipe)
    checkpoint = folder / CHECKPOINT
    if resume and checkpoint.exists():
        state.load(checkpoint)
    elif (folder / LOG).exists():
        (folder / LOG).unlink()
    last = (
        recipe.schedule.steps if stop_after is None else min(recipe.schedule.steps, state.step + stop_after)
    )
    try:
        evaluation = _run(recipe, state, folder, last, report, checkpoint_seconds, log_every)
    except KeyboardInterrupt:
        state.save(checkpoint)
        raise
    state.save(checkpoint)
    if state.step >= recipe.schedule.steps:
        recipe.export(state.averaged(), folder / "export")
    return evaluation


def _run(
    recipe: Recipe,
    state: _State,
    folder: Path,
    last: int,
    report: Report,
    checkpoint_seconds: float,
    log_every: int,
) -> Measures:
    evaluation: Measures = {}
    saved = began = time.monotonic()
    window: list[float] = []
    while state.step < last:
        loss, measures = state.advance()
        window.append(loss)
        if not math.isfinite(loss):
            raise ModaVerseError(
                f"{recipe.name}: the loss is {loss} at step {state.step}",
                hint=f"the last good checkpoint is {folder / CHECKPOINT}; resume with a lower learning rate",
            )
        due = state.step % recipe.evaluate_every == 0 or state.step == recipe.schedule.steps
        if due:
            evaluation = _evaluated(recipe, state)
        if due or state.step % log_every == 0 or state.step == last:
            now = time.monotonic()
            progress = Progress(
                step=state.step,
                steps=recipe.schedule.steps,
                loss=sum(window) / len(window),
                seconds_per_step=(now - began) / len(window),
                measures=measures,
                evaluation=evaluation if due else None,
            )
            _log(folder / LOG, progress)
            report(progress)
            window, began = [], time.monotonic()
        if time.monotonic() - saved > checkpoint_seconds:
            state.save(folder / CHECKPOINT)
            saved = time.monotonic()
    return evaluation


def _evaluated(recipe: Recipe, state: _State) -> Measures:
    """The recipe's evaluation, with its own random numbers, so that it cannot change the training."""
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(1)
        return recipe.evaluate(state.averaged())


def _log(path: Path, progress: Progress) -> None:
    row = {key: value for key, value in asdict(progress).items() if value is not None}
    with path.open("a") as file:
        file.write(json.dumps(row) + "\n")


class _State:
    """All that a resumed run needs: weights, average, moments, step."""

    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe
        self.module = recipe.build()
        self.step = 0
        self._named = {n: p for n, p in self.module.named_parameters() if p.requires_grad}
        self._held = _as_held(self._named, recipe.schedule)
        self._optimizers = _optimizers(self.module, self._held, recipe.schedule)
        self._ema = {n: p.detach().clone() for n, p in self._named.items()} if recipe.schedule.ema else {}

    def advance(self) -> tuple[float, Measures]:
        """One optimiser step. Random numbers inside the loss depend on the step alone."""
        recipe, schedule = self.recipe, self.recipe.schedule
        for optimizer in self._optimizers:
            for group in optimizer.param_groups:
                group["lr"] = schedule.rate(self.step)
        batch = recipe.batch(self.step)
        torch.manual_seed(1_000_003 * self.step + 17)
        self.module.train()
        with torch.autocast("cpu", torch.bfloat16) if schedule.bfloat16 else nullcontext():
            loss, measures = recipe.loss(self.module, batch)
        value = loss.item()
        if not math.isfinite(value):
            return value, measures
        for parameter in self._named.values():
            parameter.grad = None
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self._named.values(), schedule.clip)
        for name, held in self._held.items():
            grad = self._named[name].grad
            if held is not self._named[name]:
                held.grad = None if grad is None else grad.flatten(1)
        for optimizer in self._optimizers:
            optimizer.step()
        self.step += 1
        if self._ema:
            # A young average would remember the random start: it follows faster at first.
            decay = min(schedule.ema, (1 + self.step) / (10 + self.step))
            torch._foreach_lerp_(
                list(self._ema.values()), [p.detach() for p in self._named.values()], 1 - decay
            )
        return value, measures

    def averaged(self) -> nn.Module:
        """The module with averaged weights, in evaluation mode (the module itself where there is none)."""
        if not self._ema:
            return self.module.eval()
        copy = self.recipe.build()
        copy.load_state_dict({**self.module.state_dict(), **self._ema})
        return copy.eval()

    def save(self, path: Path) -> None:
        tensors = {f"module.{n}": t for n, t in self.module.state_dict().items()}
        tensors |= {f"ema.{n}": t for n, t in self._ema.items()}
        for name, parameter in self._held.items():
            for optimizer in self._optimizers:
                for key, value in optimizer.state.get(parameter, {}).items():
                    tensors[f"optimizer.{key}.{name}"] = value
        tensors = {n: t.detach().clone().contiguous() for n, t in tensors.items()}
        temporary = path.with_suffix(f".{os.getpid()}.tmp")
        try:
            save_file(tensors, temporary, metadata={"step": str(self.step), "recipe": self.recipe.name})
            os.replace(temporary, path)
        except Exception as error:
            temporary.unlink(missing_ok=True)
            raise StorageError(
                f"{path}: the checkpoint could not be written: {error}",
                hint="make room on the disk and resume; the checkpoint before it is kept",
            ) from error

    def load(self, path: Path) -> None:
        try:
            with safe_open(path, framework="pt") as file:
                metadata = file.metadata() or {}
                if metadata.get("recipe") != self.recipe.name:
                    raise ValueError(f"it belongs to {metadata.get('recipe')!r}, not {self.recipe.name!r}")
                tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
            self._restore(tensors)
            self.step = int(metadata["step"])
        except Exception as error:
            raise CheckpointError(
                f"{path}: cannot go on from this checkpoint: {error}",
                hint="train into another folder, or start again without --resume",
            ) from error

    def _restore(self, tensors: Mapping[str, Tensor]) -> None:
        def part(prefix: str) -> dict[str, Tensor]:
            return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}

        self.module.load_state_dict(part("module."))
        for name, average in part("ema.").items():
            self._ema[name].copy_(average)
        for optimizer in self._optimizers:
            keys = ("momentum_buffer",) if isinstance(optimizer, torch.optim.Muon) else ADAMW_STATE
            for group in optimizer.param_groups:
                for name, parameter in zip(group["names"], group["params"], strict=True):
                    kept = {key: tensors.get(f"optimizer.{key}.{name}") for key in keys}
                    if all(value is not None for value in kept.values()):
                        optimizer.state[parameter] = kept


def _optimizers(
    module: nn.Module, named: Mapping[str, nn.Parameter], schedule: Schedule
) -> list[torch.optim.Optimizer]:
    """AdamW, and Muon where the schedule wants it.

    Muon (Jordan et al. 2024) steps along the nearest orthogonal matrix; scaled to the size of AdamW's steps
    (arXiv 2502.16982, section 2.2) it takes the same learning rate.
    """
    blocks = _block_matrices(module, named) if schedule.muon else set()

    def group(names: list[str], weight_decay: float) -> dict[str, Any]:
        return {"params": [named[n] for n in names], "names": names, "weight_decay": weight_decay}

    rest = [n for n in named if n not in blocks]
    optimizers: list[torch.optim.Optimizer] = [
        torch.optim.AdamW(
            [
                group([n for n in rest if named[n].ndim >= 2], schedule.weight_decay),
                group([n for n in rest if named[n].ndim < 2], 0.0),
            ],
            lr=schedule.learning_rate,
            betas=(0.9, schedule.beta2),
            fused=True,
        )
    ]
    if blocks:
        muon = group([n for n in named if n in blocks], schedule.weight_decay)
        optimizers.append(torch.optim.Muon([muon], lr=schedule.learning_rate, adjust_lr_fn="match_rms_adamw"))
    return optimizers


def _as_held(named: Mapping[str, nn.Parameter], schedule: Schedule) -> dict[str, nn.Parameter]:
    """The parameters as optimisers hold them: filters that are Muon's as matrices, on the same memory."""
    held = dict(named)
    if schedule.muon and schedule.muon_filters:
        for name, parameter in named.items():
            if parameter.ndim > 2 and _is_in_block(name):
                held[name] = nn.Parameter(parameter.data.view(len(parameter), -1))
    return held


def _block_matrices(module: nn.Module, named: Mapping[str, nn.Parameter]) -> set[str]:
    """Names of the matrices inside numbered blocks: Muon is not for embeddings, inputs and outputs."""
    tables = {f"{name}.weight" for name, part in module.named_modules() if isinstance(part, nn.Embedding)}
    return {
        name
        for name, parameter in named.items()
        if parameter.ndim == 2 and name not in tables and _is_in_block(name)
    }


def _is_in_block(name: str) -> bool:
    return any(part.isdigit() for part in name.split("."))
