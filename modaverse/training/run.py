"""`train`: from rows to an adapter that `MultimodalLM.from_pretrained` loads.

rows ─► transcripts ─┐
media ─► features ───┴─► batches ─► stage "projectors" (optional) ─► stage "all" ─► result

OUT/  adapter_model.safetensors, projectors.safetensors, …   the result (see `language.storage`)
      README.md        its model card
      training.json    settings, data and results
      log.jsonl        losses
      checkpoints/     until the run is finished
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import torch

from modaverse.errors import ModaVerseError, SettingsError
from modaverse.imagebind.encoder import ImageBindEncoder
from modaverse.imagebind.version import encoder_version
from modaverse.language.model import MultimodalLM, PartSize
from modaverse.training.batches import BatchPlan
from modaverse.training.checkpoints import checkpoints, load_trained
from modaverse.training.curves import Board
from modaverse.training.dataset import Conversation, Transcripts, conversation, read_rows, row_files
from modaverse.training.engine import Engine, Stage, Stop, World
from modaverse.training.features import Features, default_folder
from modaverse.training.progress import LossLog, Progress, Report, read_log
from modaverse.training.record import BOARD, CHECKPOINTS, LOG, DataSummary, Record, TrainingResult
from modaverse.training.settings import PARTS, TrainSettings
from modaverse.training.sources import SourceReader


def train(
    settings: TrainSettings,
    out: Path,
    *,
    resume: bool = False,
    begun: Callable[[Sequence[PartSize]], None] = lambda parts: None,
    report: Report = lambda progress: None,
    stop: Stop = lambda: False,
    encoder: ImageBindEncoder | None = None,
) -> TrainingResult:
    """Train projectors, adapter and new tokens' rows, and write the result to `out`.

    `begun` is told what trains, before anything does. `stop` is asked after each step; when it says True, the
    run saves and ends. With `resume` a run that stopped or was killed goes on from its last checkpoint, with
    the losses of one that was not. `encoder` is used instead of loading the one that the settings name.
    Torch's global random state is reseeded.

    Raises:
        DataError: a row is wrong or too long.
        MediaError: a medium cannot be read.
        SettingsError: `out` holds a run already and `resume` is not set, or a run with other settings.
        ModelNotFound, CheckpointError: the LLM, encoder or adapter cannot be loaded.
        StorageError: something cannot be written; the last checkpoint is kept.
        ModaVerseError: the loss is not finite; the last checkpoint is kept.
    """
    world = World.here()
    record = Record.open(out, settings, resume)
    if record.result is not None:
        return record.result
    row_files((*settings.data, *settings.eval_data))  # before an LLM is loaded for nothing
    encoder = encoder or ImageBindEncoder.from_pretrained(settings.encoder, modalities=("vision", "audio"))
    version = encoder_version(encoder)
    lm = build_model(settings, encoder.dim, version)
    begun(lm.parts())
    rows, held_out = _transcripts(settings, lm)
    encoded = _features(settings, encoder, [rows, held_out], world, report)
    data = _summary(rows, held_out, encoded)
    record.check(data.fingerprint, version, world.size, write=world.rank == 0)
    del encoder

    board = Board(out / BOARD) if settings.tensorboard and world.rank == 0 else None
    log = LossLog(out / LOG, board)
    stages = _stages(settings, rows, out / CHECKPOINTS)
    previous: Stage | None = None
    engine: Engine | None = None
    for stage in stages:
        if stage is not stages[-1] and checkpoints(stages[-1].folder):
            previous = stage
            continue
        if engine is not None:  # the wrappers of the stage before are around the old one
            del engine
            lm = build_model(settings, lm.config.embedding_dim, version)
        if previous is not None:
            load_trained(checkpoints(previous.folder)[-1].path, lm)
        engine = Engine(lm, stage, settings, rows, held_out=held_out, log=log, report=report, stop=stop)
        engine.run()
        if engine.stopped:
            break
        previous = stage
    if engine is None:
        raise ModaVerseError("There is nothing to train", hint="This is a fault of ModaVerse: report it.")
    log.close()
    result = _result(engine, data, out)
    if result.finished and world.rank == 0:
        if engine.is_fsdp_enabled:  # its parameters are shards; the checkpoint has them whole
            lm = build_model(settings, lm.config.embedding_dim, version)
            load_trained(checkpoints(stages[-1].folder)[-1].path, lm)
        lm.save_pretrained(out, dtype=getattr(torch, settings.export_dtype))
        record.finish(result, lm)
    world.wait()
    return result


def build_model(settings: TrainSettings, dim: int, encoder: str) -> MultimodalLM:
    """The model that a run begins with: fresh, or the adapter that the settings name.

    Raises:
        SettingsError: that adapter's projectors were trained on another encoder.
    """
    dtype, quantized = getattr(torch, settings.llm_dtype), settings.llm_quantized
    # What is quantised is so while it is loaded, on the device of this process.
    gpu = torch.cuda.current_device() if torch.cuda.is_available() else "cpu"
    device_map = None if quantized is None else {"": gpu}
    if settings.adapter is None:
        lm = MultimodalLM.build(
            settings.llm,
            embedding_dim=dim,
            projector=settings.projector,
            transcript=settings.transcript if "transcript" in settings.model_fields_set else None,
            lora=settings.lora,
            revision=settings.revision,
            dtype=dtype,
            quantized=quantized,
            device_map=device_map,
            seed=settings.seed,
        )
    else:
        lm = MultimodalLM.from_pretrained(
            settings.llm,
            settings.adapter,
            revision=settings.revision,
            dtype=dtype,
            trainable=True,
            quantized=quantized,
            device_map=device_map,
        )
        if lm.config.encoder not in ("", encoder):
            raise SettingsError(
                f"The projectors of {settings.adapter} were trained on another encoder than "
                f"{settings.encoder}",
                hint="Name the encoder that they were trained on, or train without `adapter`.",
            )
    lm.config = lm.config.model_copy(update={"encoder": encoder})
    attention = settings.attention
    if attention == "auto" and not torch.cuda.is_available():
        attention = "eager"
    if attention != "auto":
        lm.core.set_attn_implementation(attention)
    if settings.checkpointing:
        _checkpoint_activations(lm)
    for module in lm.core.modules():
        # On some CPUs bitsandbytes repacks a 4-bit matrix once it is used without gradients, as in an
        # evaluation, and from then on none flow through it.
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False
    return lm


def _checkpoint_activations(lm: MultimodalLM) -> None:
    """Under the name that the installed transformers has for it."""
    core: Any = lm.core
    options = {"use_reentrant": False}
    if hasattr(core, "activation_checkpointing_enable"):
        core.activation_checkpointing_enable(activation_checkpointing_kwargs=options)
    else:
        core.gradient_checkpointing_enable(gradient_checkpointing_kwargs=options)


def _transcripts(settings: TrainSettings, lm: MultimodalLM) -> tuple[Transcripts, Transcripts | None]:
    """Rows to train on and, if any, rows to evaluate on."""
    reader = SourceReader()

    def read(paths: Iterable[Path]) -> Iterable[Conversation]:
        return (conversation(placed, reader) for placed in read_rows(tuple(paths)))

    def write(conversations: Iterable[Conversation]) -> Transcripts:
        return Transcripts(
            conversations,
            lm.script,
            k=lm.config.projector.k,
            limit=min(settings.max_length or lm.context_length, lm.context_length),
            skip_long=settings.long_rows == "skip",
        )

    rows = write(read(settings.data))
    held_out = write(read(settings.eval_data)) if settings.eval_data else None
    if settings.hold_out:
        rows, some = rows.hold_out(settings.hold_out, settings.seed)
        held_out = some if held_out is None else held_out.joined(some)
    return rows, held_out


def _features(
    settings: TrainSettings,
    encoder: ImageBindEncoder,
    parts: Iterable[Transcripts | None],
    world: World,
    report: Report,
) -> int:
    """Compute what is missing, each process a share; returns how many media this process encoded."""
    features = Features(encoder, settings.feature_cache or default_folder())
    sources = {key: source for part in parts if part is not None for key, source in part.sources.items()}
    # A share of all, not of what is missing: that changes while the others are at work.
    share = list(sources.items())[world.rank :: world.size]

    def tell(done: int, count: int) -> None:
        if world.rank == 0:
            report(Progress("features", done, count))

    encoded = features.compute(dict(share), report=tell)
    world.wait()
    features.refresh()
    for part in parts:
        if part is not None:
            part.attach(features)
    return encoded


def _stages(settings: TrainSettings, rows: Transcripts, folder: Path) -> list[Stage]:
    size = settings.batch_size or (16 if settings.batch_tokens is None else None)

    def plan(epochs: float | None, steps: int | None, seed: int) -> BatchPlan:
        return BatchPlan(
            lengths=rows.lengths,
            size=size,
            tokens=settings.batch_tokens,
            window=settings.length_window,
            epochs=epochs,
            steps=steps,
            seed=seed,
            accumulation=settings.accumulation,
        )

    epochs = settings.epochs or (1.0 if settings.steps is None else None)
    stages = [Stage("all", PARTS, plan(epochs, settings.steps, 2 * settings.seed), folder / "all")]
    if settings.projectors_first:
        first = plan(settings.projectors_first, None, 2 * settings.seed + 1)
        stages.insert(0, Stage("projectors", ("projectors",), first, folder / "projectors"))
    return stages


def _summary(rows: Transcripts, held_out: Transcripts | None, encoded: int) -> DataSummary:
    return DataSummary(
        rows=len(rows),
        held_out=len(held_out) if held_out else 0,
        skipped=rows.skipped,
        positions=int(rows.lengths.sum()),
        sampled=rows.sampled,
        media=rows.media_count,
        fingerprint=rows.fingerprint(),
        encoded=encoded,
    )


def _result(engine: Engine, data: DataSummary, out: Path) -> TrainingResult:
    log = read_log(out / LOG)
    losses = [row["loss"] for row in log if "loss" in row]
    evaluations = [row["evaluation"] for row in log if "evaluation" in row]
    return TrainingResult(
        folder=out,
        finished=not engine.stopped,
        step=engine.state.global_step,
        steps=engine.state.max_steps,
        data=data,
        parts=tuple(engine.lm.parts()),
        loss=losses[-1] if losses else None,
        evaluation=evaluations[-1] if evaluations else None,
    )
