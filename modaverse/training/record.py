"""What a run is, in `training.json`: written when it begins, so that it is not resumed as another one, and
again with its results when it is finished.
"""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from modaverse.errors import SettingsError, StorageError
from modaverse.language.model import MultimodalLM, PartSize
from modaverse.training.card import model_card
from modaverse.training.curves import plot_losses
from modaverse.training.progress import read_log
from modaverse.training.settings import RUN_ON, TrainSettings

RECORD, LOG, CURVES = "training.json", "log.jsonl", "loss.png"
CHECKPOINTS, BOARD = "checkpoints", "tensorboard"


@dataclass(frozen=True, slots=True)
class DataSummary:
    """What was trained on. `media` counts every occurrence, `encoded` the encoder's calls in this run."""

    rows: int
    held_out: int
    skipped: int
    positions: int
    sampled: int
    media: int
    fingerprint: str
    encoded: int = 0


@dataclass(frozen=True, slots=True)
class TrainingResult:
    """How a run ended. Where `finished` is False, the same call with `resume=True` goes on."""

    folder: Path
    finished: bool
    step: int
    steps: int
    data: DataSummary
    parts: tuple[PartSize, ...]
    loss: float | None = None
    evaluation: dict[str, float] | None = None


class Record:
    """`training.json`: what a run is, so that it is not resumed as another one."""

    def __init__(self, out: Path, settings: TrainSettings, known: dict[str, Any] | None) -> None:
        self._out = out
        self._settings = settings
        self._known = known
        self.result: TrainingResult | None = None
        if known is not None and known.get("result"):
            values = known["result"]
            self.result = TrainingResult(
                folder=out,
                finished=True,
                data=DataSummary(**values.pop("data")),
                parts=tuple(PartSize(**part) for part in values.pop("parts")),
                **values,
            )

    @classmethod
    def open(cls, out: Path, settings: TrainSettings, resume: bool) -> Record:
        path = out / RECORD
        if not path.exists():
            return cls(out, settings, None)
        if not resume:
            raise SettingsError(
                f"{out} holds a training run already", hint="Resume it, or train into another folder."
            )
        try:
            known: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise SettingsError(
                f"{path} cannot be read: {error}", hint="Train into another folder."
            ) from error
        return cls(out, settings, known)

    def check(self, data: str, encoder: str, processes: int, *, write: bool) -> None:
        """Refuse to go on as another run than the one that began; `write` down what is being run.

        Raises:
            SettingsError: which settings differ.
        """
        told = json.loads(self._settings.model_dump_json())
        about = {
            "format": 1,
            "settings": told,
            "data": data,
            "encoder": encoder,
            "processes": processes,
            "result": None,
        }
        if self._known is not None:
            before = self._known["settings"]
            differing = [
                name for name, value in told.items() if name not in RUN_ON and before.get(name) != value
            ]
            differing += [name for name in ("encoder", "processes") if self._known.get(name) != about[name]]
            if not differing and self._known.get("data") != data:
                differing = ["the rows of `data`"]
            if differing:
                raise SettingsError(
                    f"The run in {self._out} began with other settings: {', '.join(differing)} differ",
                    hint="Resume it with those, or train into another folder.",
                )
        if write:
            self._write(about)

    def finish(self, result: TrainingResult, lm: MultimodalLM) -> None:
        """Write the card and the results; the checkpoints have served their purpose."""
        settings = portable(self._settings)
        values = asdict(result)
        for name in ("folder", "finished"):
            del values[name]
        try:
            picture = CURVES if plot_losses(read_log(self._out / LOG), self._out / CURVES) else None
            card = model_card(settings, values, lm.config, picture=picture)
            (self._out / "README.md").write_text(card, encoding="utf-8")
        except OSError as error:
            raise _unwritable(self._out, error) from error
        self._write({"format": 1, "settings": settings, "result": values})
        shutil.rmtree(self._out / CHECKPOINTS, ignore_errors=True)

    def _write(self, values: dict[str, Any]) -> None:
        scratch = self._out / f"{RECORD}.{os.getpid()}.part"
        try:
            self._out.mkdir(parents=True, exist_ok=True)
            scratch.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")
            os.replace(scratch, self._out / RECORD)
        except OSError as error:
            raise _unwritable(self._out, error) from error


def _unwritable(folder: Path, error: OSError) -> StorageError:
    return StorageError(
        f"{folder} cannot be written: {error.strerror or error}",
        hint="Free some space or choose another folder, then resume.",
    )


def portable(settings: TrainSettings) -> dict[str, Any]:
    """Settings as plain values, with the names of files and folders but not where they lay."""
    values: dict[str, Any] = json.loads(settings.model_dump_json())
    for name in ("data", "eval_data"):
        values[name] = [Path(path).name for path in values[name]]
    for name in ("encoder", "adapter"):
        values[name] = Path(values[name]).name if values[name] else values[name]
    if Path(settings.llm).is_dir():
        values["llm"] = Path(settings.llm).name
    del values["feature_cache"]
    return values
