"""Checkpoints of a stage: what trains, the optimiser's moments, and where the run is.

    checkpoint-500/  model.safetensors       all that trains, by its name in `MultimodalLM`
                     optimizer.safetensors   "exp_avg.NAME", "exp_avg_sq.NAME", "step.NAME"
                     trainer_state.json      transformers' own: the step
                     window.json             losses since the last entry of the log

A checkpoint is written under another name and renamed when it is complete, and only then older ones go: a
process that is killed while saving, or a full disk, leaves the last good one. Models that FSDP shards are
written by accelerate in its own format, beside `model.safetensors`.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import Trainer

from modaverse.errors import CheckpointError, StorageError

if TYPE_CHECKING:
    from modaverse.training.engine import Stage
    from modaverse.training.settings import TrainSettings
    from modaverse.training.window import Window

MODEL, OPTIMIZER, WINDOW, STATE = (
    "model.safetensors",
    "optimizer.safetensors",
    "window.json",
    "trainer_state.json",
)
_STAGING = ".partial"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A complete checkpoint."""

    path: Path
    step: int


def plain_name(name: str) -> str:
    """A parameter's name in `MultimodalLM`, without what wrappers put around it."""
    for wrapper in ("_fsdp_wrapped_module.", "_checkpoint_wrapped_module.", "_orig_mod."):
        name = name.replace(wrapper, "")
    return name.removeprefix("module.").removeprefix("lm.")


def checkpoints(folder: Path) -> list[Checkpoint]:
    """The checkpoints of a stage, oldest first."""
    found = [
        Checkpoint(path, int(match[1]))
        for path in folder.glob("checkpoint-*")
        if (match := re.fullmatch(r"checkpoint-(\d+)", path.name)) and (path / STATE).is_file()
    ]
    return sorted(found, key=lambda checkpoint: checkpoint.step)


def load_trained(path: Path, model: nn.Module) -> None:
    """Put what trained into `model` (a `MultimodalLM`).

    Raises:
        CheckpointError: the file is damaged, or of another model.
    """
    try:
        tensors = load_file(path / MODEL)
        parameters = dict(model.named_parameters())
        with torch.no_grad():
            for name, tensor in tensors.items():
                if parameters[name].shape != tensor.shape:
                    raise ValueError(f"{name} has another shape")
                parameters[name].copy_(tensor)
    except (OSError, KeyError, ValueError, SafetensorError) as error:
        raise _unusable(path, error) from error


def _unusable(path: Path, error: Exception) -> CheckpointError:
    return CheckpointError(
        f"Cannot go on from {path}: {error}",
        hint="Remove that folder to go on from the checkpoint before it, or train into another folder.",
    )


class CheckpointingTrainer(Trainer):  # type: ignore[misc]
    """The half of `Engine` that keeps and restores the state of a run."""

    stage: Stage
    settings: TrainSettings
    window: Window

    def last_checkpoint(self) -> Checkpoint | None:
        found = checkpoints(self.stage.folder)
        return found[-1] if found else None

    # -------------------------------------------------------------------------------------- saving

    def _get_output_dir(self, trial: Any) -> str:
        return str(self.stage.folder / _STAGING)

    def _save_checkpoint(self, model: nn.Module, trial: Any = None) -> None:
        name = f"checkpoint-{self.state.global_step}"
        staged, final = self.stage.folder / _STAGING / name, self.stage.folder / name
        with self._saving():
            if self.args.should_save:
                shutil.rmtree(staged.parent, ignore_errors=True)
                staged.mkdir(parents=True)
            self.accelerator.wait_for_everyone()
            super()._save_checkpoint(model, trial)
            if self.args.should_save:
                (staged / WINDOW).write_text(json.dumps(self.window.losses()), encoding="utf-8")
            self.accelerator.wait_for_everyone()
            if self.args.should_save:
                _settle(staged, final)
                for old in checkpoints(self.stage.folder)[: -self.settings.keep_checkpoints]:
                    shutil.rmtree(old.path)

    @contextlib.contextmanager
    def _saving(self) -> Iterator[None]:
        try:
            yield
        except (OSError, SafetensorError) as error:
            shutil.rmtree(self.stage.folder / _STAGING, ignore_errors=True)
            last = self.last_checkpoint()
            raise StorageError(
                f"The checkpoint of step {self.state.global_step} cannot be written to {self.stage.folder}: "
                f"{getattr(error, 'strerror', None) or error}",
                hint="Free some space, then resume"
                + (f"; step {last.step} is kept." if last else "; there was no checkpoint before it."),
            ) from error

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Any] | None = None) -> None:
        if not self.args.should_save or output_dir is None:
            return
        trained = {plain_name(n) for n, p in self.model.named_parameters() if p.requires_grad}
        tensors = state_dict or dict(self.accelerator.unwrap_model(self.model).named_parameters())
        kept = {plain_name(name): tensor for name, tensor in tensors.items()}
        save_file(
            {name: tensor.detach().cpu().contiguous() for name, tensor in kept.items() if name in trained},
            Path(output_dir) / MODEL,
            metadata={"format": "pt"},
        )

    def _save_optimizer_and_scheduler(self, output_dir: str) -> None:
        if self.is_fsdp_enabled or self.is_deepspeed_enabled:
            super()._save_optimizer_and_scheduler(output_dir)
        elif self.args.should_save:
            state = self.optimizer.state_dict()["state"]
            tensors = {
                f"{key}.{name}": value.detach().cpu().contiguous()
                for index, name in enumerate(self._optimised())
                for key, value in state.get(index, {}).items()
            }
            save_file(tensors, Path(output_dir) / OPTIMIZER, metadata={"format": "pt"})

    def _save_rng_state(self, output_dir: str) -> None:
        """Nothing to keep: random numbers depend on the step."""

    def _optimised(self) -> list[str]:
        """Names of the optimiser's parameters, in its order."""
        return [name for group in self.optimizer.param_groups for name in group["names"]]

    # ------------------------------------------------------------------------------------ restoring

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: nn.Module | None = None) -> None:
        path = Path(resume_from_checkpoint)
        if self.is_fsdp_enabled:
            super()._load_from_checkpoint(resume_from_checkpoint, model)
        else:
            load_trained(path, self.model.lm)
        try:
            self.window.earlier = json.loads((path / WINDOW).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise _unusable(path, error) from error

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        if checkpoint is None:
            return
        if self.is_fsdp_enabled or self.is_deepspeed_enabled:
            super()._load_optimizer_and_scheduler(checkpoint)
            return
        try:
            tensors = load_file(Path(checkpoint) / OPTIMIZER)
        except (OSError, SafetensorError) as error:
            raise _unusable(Path(checkpoint), error) from error
        state: dict[int, dict[str, torch.Tensor]] = {}
        places = {name: index for index, name in enumerate(self._optimised())}
        for key, tensor in tensors.items():
            kind, _, name = key.partition(".")
            state.setdefault(places[name], {})[kind] = tensor
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": state, "param_groups": groups})
        self._set_schedule(self.state.global_step)

    def _set_schedule(self, step: int) -> None:
        scheduler = self.lr_scheduler
        scheduler.last_epoch = step
        scheduler._step_count = step + 1
        rates = [
            base * factor(step) for base, factor in zip(scheduler.base_lrs, scheduler.lr_lambdas, strict=True)
        ]
        for group, rate in zip(self.optimizer.param_groups, rates, strict=True):
            group["lr"] = rate
        scheduler._last_lr = rates

    def _load_rng_state(self, checkpoint: str | None) -> None:
        """Nothing was kept: random numbers depend on the step."""


def _settle(staged: Path, final: Path) -> None:
    """Make a complete checkpoint durable under its own name."""
    for path in [p for p in staged.rglob("*") if p.is_file()]:
        with path.open("rb") as file:
            os.fsync(file.fileno())
    shutil.rmtree(final, ignore_errors=True)
    os.replace(staged, final)
    shutil.rmtree(staged.parent, ignore_errors=True)
