"""The recipe of mini's adapter: what `modaverse train` does, on rows of Toybox.

There is no second training program. This writes the rows, chooses the settings and calls
`modaverse.training.run.train`, which is what people's own rows go through as well:

    modaverse train --data runs/adapter/rows-100000-1.jsonl --settings mini.toml --out DIR

The settings, and why:
- LoRA of rank 32 on every linear layer, without dropout: mini's LLM is small, what it has to learn (calls,
  media) is new to it, and rows are not seen often enough to be learnt by heart.
- Rates of 3e-3: after 200 steps the loss on rows held out was 1.21, and 1.29 at 1e-3.
- Four embeddings a medium from a two-layer projector: a medium has a thing and up to four attributes, and a
  single input embedding of 256 numbers would have to hold them all.
- Rows are sorted by length within 16 batches: they have between 20 and 350 positions, so that without it two
  thirds of the positions would be padding. A batch is 3,000 positions, about 30 rows: on a CPU, larger ones
  take longer a row, since the caches no longer hold what they need.
"""

from __future__ import annotations

import shutil
from importlib import resources
from pathlib import Path
from typing import Any

from modaverse.errors import ModelNotFound
from modaverse.settings import LoraSettings, ProjectorSettings
from modaverse.toybox.rows import AFTER, write_rows
from modaverse.toybox.wordings.grammar import Split
from modaverse.training.engine import Stop, World
from modaverse.training.layout import Layout
from modaverse.training.progress import Progress, Report
from modaverse.training.record import RECORD, TrainingResult
from modaverse.training.run import train
from modaverse.training.settings import LearningRates, TrainSettings

PART = "adapter"
ROWS = 100_000
CHECKS = 1_000
SEED = 1


def train_adapter(
    runs: Path,
    *,
    rows: int = ROWS,
    checks: int = CHECKS,
    resume: bool = True,
    report: Report = lambda progress: None,
    stop: Stop = lambda: False,
    **changes: Any,
) -> TrainingResult:
    """Train mini's adapter in `runs/adapter`; the result lies in `runs/adapter/export`.

    It learns from `rows` rows and is evaluated on `checks` rows of wordings and scenes that it never saw. The
    LLM and the encoder are those that were trained in `runs`, or else those that ship. `changes` are training
    settings that differ from `mini_settings`. Without `resume` an earlier run is thrown away.

    Raises:
        ModelNotFound: there is no LLM or no encoder yet.
        SettingsError: the run that is resumed began with other settings.
        ModaVerseError: see `modaverse.training.run.train`.
    """
    folder = runs / PART
    out = folder / "export"
    settings = mini_settings(
        llm=part_folder(runs, "llm"),
        encoder=part_folder(runs, "encoder"),
        data=folder / f"rows-{rows}-{SEED}.jsonl",
        held_out=folder / f"held-out-{checks}-{SEED}.jsonl",
        feature_cache=runs / "features",
        **changes,
    )
    world = World.here()
    if world.rank == 0:
        if not resume:
            shutil.rmtree(folder, ignore_errors=True)
        _write(settings.data[0], rows, "train", settings.llm, report)
        _write(settings.eval_data[0], checks, "held_out", settings.llm, report)
    world.wait()
    return train(settings, out, resume=(out / RECORD).exists(), report=report, stop=stop)


def mini_settings(
    *, llm: Path, encoder: Path, data: Path, held_out: Path, feature_cache: Path, **changes: Any
) -> TrainSettings:
    """The settings of mini's adapter; `changes` come before them.

    Raises:
        SettingsError: a change is none that can be made.
    """
    values: dict[str, Any] = {
        "data": (data,),
        "eval_data": (held_out,),
        "llm": str(llm),
        "encoder": encoder,
        "feature_cache": feature_cache,
        "projector": ProjectorSettings(kind="mlp", k=4),
        "lora": LoraSettings(r=32, alpha=32, dropout=0.0, target_modules="all-linear"),
        "learning_rates": LearningRates(projectors=3e-3, lora=3e-3, tokens=3e-3),
        "epochs": None if changes.get("steps") else 2.0,
        "batch_size": None,
        "batch_tokens": 3000,
        "length_window": 16,
        "warmup": 0.03,
        "log_every": 50,
        "save_every": 250,
        "eval_every": 1000,
        "export_dtype": "float16",
    }
    return TrainSettings.parse(values | changes)


def part_folder(runs: Path, part: str) -> Path:
    """What was trained in `runs`, or else what ships.

    Raises:
        ModelNotFound: there is neither.
    """
    shipped = Path(str(resources.files("modaverse.profiles"))) / "mini" / part
    for folder in (runs / part / "export", shipped):
        if (folder / "model.safetensors").is_file():
            return folder
    raise ModelNotFound(
        f"Mini's {part} is not trained yet", hint=f"Run `modaverse toybox train {part} --runs {runs}` first."
    )


def _write(path: Path, count: int, split: Split, llm: str, report: Report) -> None:
    """Write rows for an LLM, where they are not there: a file that is there is whole."""
    if not path.exists():
        from transformers import AutoTokenizer

        layout = Layout(AutoTokenizer.from_pretrained(llm), after=AFTER)
        report(Progress("rows", 0, count))
        write_rows(path, count, SEED, split, layout=layout)
        report(Progress("rows", count, count))
