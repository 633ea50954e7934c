"""The loop: transformers' `Trainer`, made to resume exactly.

What `Trainer` alone would not do:
- Batches are those of a `BatchPlan`, for which a whole run is one stream; of a run that is resumed it skips
  the first ones without making them.
- Random numbers (dropout) depend on seed, step and process alone, so no state of a generator is kept.
- Checkpoints hold what trains, as safetensors, and appear whole or not at all (`checkpoints`).
- Each part has its own learning rate.
- A loss that is not finite ends the run before it reaches the weights.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader
from transformers import TrainerCallback, TrainingArguments
from transformers.trainer_callback import PrinterCallback

from modaverse.errors import ModaVerseError, SettingsError
from modaverse.language.batch import IGNORED
from modaverse.language.model import MultimodalLM
from modaverse.training.batches import BatchPlan
from modaverse.training.checkpoints import CheckpointingTrainer, plain_name
from modaverse.training.dataset import Transcripts
from modaverse.training.progress import LogRow, LossLog, Progress, Report, StageName
from modaverse.training.schedule import part_rates, rate_factor
from modaverse.training.settings import Part, TrainSettings
from modaverse.training.window import Window

Stop = Callable[[], bool]
"""Asked after each step; True ends the run with a checkpoint."""


class Trained(nn.Module):
    """What data-parallel wrappers wrap: batch in, loss out."""

    accepts_loss_kwargs = True  # tells `Trainer` that `num_items_in_batch` is honoured

    def __init__(self, lm: MultimodalLM) -> None:
        super().__init__()
        self.lm = lm

    def forward(self, **batch: Any) -> dict[str, torch.Tensor]:
        return {"loss": self.lm(**batch, return_logits=False).loss}


@dataclass(frozen=True)
class Stage:
    """A part of a run with its own optimiser: which parts train, and on which batches.

    The plan is that of one process; `Engine` gives each of several its share.
    """

    name: StageName
    parts: tuple[Part, ...]
    plan: BatchPlan
    folder: Path
    """Where its checkpoints lie."""


class Engine(CheckpointingTrainer):
    """Trains one stage. `run` does it; `stopped` says whether it ended before its last step."""

    optimizer: Any
    lr_scheduler: Any
    control: Any

    def __init__(
        self,
        lm: MultimodalLM,
        stage: Stage,
        settings: TrainSettings,
        rows: Transcripts,
        *,
        held_out: Transcripts | None,
        log: LossLog,
        report: Report,
        stop: Stop,
    ) -> None:
        for name, parameter in lm.named_parameters():
            parameter.requires_grad_(lm.part_of(name) in stage.parts)
        arguments = _arguments(settings, stage.folder)
        self.lm = lm
        self.stage = replace(
            stage,
            plan=replace(stage.plan, processes=arguments.world_size, rank=arguments.process_index),
        )
        self.settings = settings
        self.stopped = False
        self.window = Window()
        self._rows = rows
        self._held_out = held_out
        self._log = log
        self._report = report
        self._stop = stop
        super().__init__(
            model=Trained(lm),
            args=arguments,
            train_dataset=rows,
            data_collator=lm.collate,
            callbacks=[_Cadence(self)],
        )
        self.remove_callback(PrinterCallback)
        if self.is_fsdp_enabled and self.accelerator.state.fsdp_plugin.fsdp_version != 2:
            raise SettingsError(
                "Version 1 of FSDP cannot shard a model of which little trains",
                hint="Use version 2: accelerate launch --use_fsdp --fsdp_version 2.",
            )

    def run(self) -> None:
        """Train from the last checkpoint of the stage, or from the beginning.

        Raises:
            ModaVerseError: the loss is not finite.
            StorageError: a checkpoint or the log cannot be written.
        """
        checkpoint = self.last_checkpoint()
        if self.is_main:  # the others would trim the same file at the same time
            self._log.begin(self.stage.name, checkpoint.step if checkpoint else 0)
        self.train(resume_from_checkpoint=str(checkpoint.path) if checkpoint else None)

    @property
    def is_main(self) -> bool:
        return bool(self.is_world_process_zero())

    # --------------------------------------------------------------------------- Trainer's own hooks

    def get_train_dataloader(self) -> DataLoader[Any]:
        # Not prepared by accelerate: the plan knows which batches are this process's.
        return DataLoader(
            self._rows,
            batch_sampler=self.stage.plan,
            collate_fn=self.lm.collate,
            num_workers=self.settings.workers,
            pin_memory=self.args.device.type == "cuda",
        )

    def create_optimizer(self, model: nn.Module | None = None) -> Any:
        if self.optimizer is None:
            groups = self._groups(model or self.model)
            self.optimizer = torch.optim.AdamW(
                groups,
                betas=(0.9, self.settings.beta2),
                # One kernel for all parameters; it knows no sharded ones.
                fused=not self.is_fsdp_enabled,
            )
        return self.optimizer

    def _groups(self, model: nn.Module) -> list[dict[str, Any]]:
        rates = part_rates(self.settings.learning_rates)
        groups: dict[tuple[str, bool], dict[str, Any]] = {}
        for name, parameter in model.named_parameters():
            if not parameter.requires_grad:
                continue
            part = cast(Part, self.lm.part_of(plain_name(name)))
            # A new token's row has nothing to be pulled back to.
            decays = parameter.ndim >= 2 and part != "tokens"
            group = groups.setdefault(
                (part, decays),
                {
                    "params": [],
                    "names": [],
                    "part": part,
                    "lr": rates[part],
                    "weight_decay": self.settings.weight_decay if decays else 0.0,
                },
            )
            group["params"].append(parameter)
            group["names"].append(plain_name(name))
        return list(groups.values())

    def create_scheduler(
        self, num_training_steps: int, optimizer: torch.optim.Optimizer | None = None
    ) -> Any:
        if self.lr_scheduler is None:
            self.lr_scheduler = torch.optim.lr_scheduler.LambdaLR(
                optimizer or self.optimizer,
                lambda step: rate_factor(self.settings, step, num_training_steps),
            )
        return self.lr_scheduler

    def training_step(
        self, model: nn.Module, inputs: dict[str, Any], num_items_in_batch: Any = None
    ) -> torch.Tensor:
        self.window.batch(inputs)
        loss: torch.Tensor = super().training_step(model, inputs, num_items_in_batch)
        self.window.loss(loss)
        return loss

    def evaluate(self, *_: Any, **__: Any) -> dict[str, float]:
        """Mean loss of the sampled tokens of the rows held out; the parts' dropout is off."""
        if self._held_out is None:
            return {}
        total = torch.zeros(2, dtype=torch.float64)
        training = self.model.training
        self.model.eval()
        with torch.no_grad(), self.compute_loss_context_manager():
            for batch, counts in self._held_out_batches():
                inputs = self.lm.collate([self._held_out[row] for row in batch])
                sampled = int((inputs["labels"][:, 1:] != IGNORED).sum())
                loss = self.model(**self._prepare_inputs(dict(inputs)), num_items_in_batch=1)["loss"]
                total += torch.tensor([float(loss), sampled], dtype=torch.float64) * counts
        self.model.train(training)
        total = self.accelerator.reduce(total.to(self.args.device, torch.float32), "sum")
        evaluation = {"loss": float(total[0] / total[1])}
        self._tell(evaluation=evaluation)
        metrics = {f"eval_{name}": value for name, value in evaluation.items()}
        super().log(dict(metrics))
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    def _held_out_batches(self) -> list[tuple[list[int], bool]]:
        """Batches of this process. All processes have equally many; what fills up does not count."""
        rows = self._held_out
        if rows is None:
            return []
        order = np.argsort(rows.lengths, kind="stable").tolist()
        size = self.settings.batch_size or max(1, int((self.settings.batch_tokens or 1) / rows.lengths.max()))
        batches = [(order[start : start + size], True) for start in range(0, len(order), size)]
        while len(batches) % self.args.world_size:
            batches.append((order[:1], False))
        return batches[self.args.process_index :: self.args.world_size]

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        if "loss" in logs:  # an entry of the running log, not Trainer's summary at the end
            gradient = logs.get("grad_norm")
            logs["loss"] = self._tell(gradient=None if gradient is None else float(gradient))
        super().log(logs, start_time)

    def _tell(self, *, gradient: float | None = None, evaluation: Mapping[str, float] | None = None) -> float:
        """Report and log what the window holds (or an evaluation), and begin a new window; its mean loss."""
        step = self.state.global_step
        seconds = self.window.seconds()
        if evaluation is not None:
            row = LogRow(self.stage.name, step, self.stage.plan.epochs_at(step), evaluation=evaluation)
        else:
            loss, rows, positions = self._seen()
            row = LogRow(
                stage=self.stage.name,
                step=step,
                epoch=self.stage.plan.epochs_at(step),
                loss=loss,
                gradient=gradient,
                rates=self._rates(),
                rows=rows,
                positions=positions,
                seconds=round(seconds, 4),
            )
            self.window.clear()
        if self.is_main:
            self._log.add(row)
            pace = row.rows / seconds if row.rows and seconds else None
            self._report(Progress(self.stage.name, step, self.state.max_steps, row.loss, evaluation, pace))
        return row.loss or 0.0

    def _seen(self) -> tuple[float, int, int]:
        """Mean loss, rows and positions of the window, over all processes."""
        window, size = self.window, self.args.world_size
        seen = torch.tensor([window.mean() / size, window.rows, window.positions], dtype=torch.float32)
        loss, rows, positions = self.accelerator.reduce(seen.to(self.args.device), "sum").tolist()
        return loss, round(rows), round(positions)

    def _rates(self) -> dict[str, float]:
        """Learning rates of the step that was done last."""
        factor = rate_factor(self.settings, self.state.global_step - 1, self.state.max_steps)
        rates = part_rates(self.settings.learning_rates)
        return {part: rates[part] * factor for part in self.stage.parts}


class _Cadence(TrainerCallback):  # type: ignore[misc]
    """When to log, save, evaluate and stop; random numbers; and losses that are none."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        self._engine.window.start_clock()

    def on_step_begin(self, args: Any, state: Any, *_: Any, **__: Any) -> None:
        engine = self._engine
        entropy = [engine.settings.seed, len(engine.stage.parts), state.global_step, args.process_index]
        torch.manual_seed(int(np.random.SeedSequence(entropy).generate_state(1)[0]))

    def on_pre_optimizer_step(self, args: Any, state: Any, *_: Any, **__: Any) -> None:
        """Gradients are the same on all processes by now, so all of them end here or none."""
        engine = self._engine
        gradients = [p.grad for p in engine.model.parameters() if p.grad is not None]
        norm = torch.nn.utils.get_total_norm(gradients)
        norm = norm.full_tensor() if hasattr(norm, "full_tensor") else norm
        if bool(torch.isfinite(norm)):
            return
        last = engine.last_checkpoint()
        kept = f"The checkpoint {last.path} is kept." if last else "There was no checkpoint yet."
        raise ModaVerseError(
            f"Training became unstable: the loss is {engine.window.last:g}, its gradients are not finite, "
            f"at step {state.global_step + 1}",
            hint=f"{kept} Start anew with lower learning rates, or look into the rows of that step.",
        )

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> Any:
        engine, settings, step = self._engine, self._engine.settings, state.global_step
        engine.window.end_step()
        last = step >= state.max_steps
        if not last and self._should_stop():
            engine.stopped = control.should_training_stop = control.should_save = True
        control.should_log = step % settings.log_every == 0 or last
        control.should_save = control.should_save or step % settings.save_every == 0 or last
        control.should_evaluate = engine._held_out is not None and (step % settings.eval_every == 0 or last)
        return control

    def _should_stop(self) -> bool:
        """True on all processes as soon as it is true on one: they have to save together."""
        engine = self._engine
        wanted = engine._stop()
        if engine.args.world_size == 1:
            return wanted
        flag = torch.tensor(float(wanted), device=engine.args.device)
        return bool(engine.accelerator.reduce(flag, "sum") > 0)


@dataclass(frozen=True, slots=True)
class World:
    """How many processes train together, and which of them this one is."""

    size: int
    rank: int

    @classmethod
    def here(cls) -> World:
        """As torchrun or accelerate started this process; 1 where neither did."""
        arguments = TrainingArguments(output_dir=".", report_to="none", use_cpu=_on_cpu())
        return cls(arguments.world_size, arguments.process_index)

    def wait(self) -> None:
        """Until all processes are here."""
        if self.size > 1:
            torch.distributed.barrier()


def _on_cpu() -> bool:
    return not torch.accelerator.is_available()


def _arguments(settings: TrainSettings, folder: Path) -> TrainingArguments:
    """Settings of `Trainer`. Logging, saving and evaluation are `_Cadence`'s."""
    return TrainingArguments(
        output_dir=str(folder),
        num_train_epochs=1,
        per_device_train_batch_size=settings.batch_size or 1,
        gradient_accumulation_steps=settings.accumulation,
        max_grad_norm=settings.clip,
        use_cpu=_on_cpu(),
        bf16=settings.precision == "bfloat16",
        seed=settings.seed,
        label_names=["labels"],
        average_tokens_across_devices=True,
        ddp_find_unused_parameters=False,
        remove_unused_columns=False,
        dataloader_pin_memory=False,
        logging_strategy="no",
        logging_nan_inf_filter=False,
        save_strategy="no",
        eval_strategy="no",
        disable_tqdm=True,
        report_to="none",
    )
