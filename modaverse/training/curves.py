"""The losses of a run as others show them: a picture, and TensorBoard. Both need the extra `train`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from modaverse.errors import SettingsError
from modaverse.training.progress import LogRow, StageName


class Board:
    """Writes entries of the log for TensorBoard, each stage as a run of its own: both count from step 1.

    Raises:
        SettingsError: the package tensorboard is not installed.
    """

    def __init__(self, folder: Path) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise SettingsError(
                "The setting tensorboard needs the package tensorboard",
                hint="pip install 'modaverse[train]', or leave the setting out.",
            ) from error
        self._folder = folder
        self._make: Any = SummaryWriter
        self._writer: Any = None

    def begin(self, stage: StageName, step: int) -> None:
        """A stage begins after this step; what was written of later ones is void."""
        self.close()
        self._writer = self._make(str(self._folder / stage), purge_step=step + 1)

    def add(self, row: LogRow) -> None:
        scalars = {"loss": row.loss, "gradient": row.gradient}
        scalars |= {f"rate/{part}": rate for part, rate in row.rates.items()}
        scalars |= {f"held_out/{name}": value for name, value in (row.evaluation or {}).items()}
        for name, value in scalars.items():
            if value is not None:
                self._writer.add_scalar(name, value, row.step)
        self._writer.flush()

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()


def plot_losses(log: Sequence[Mapping[str, Any]], path: Path) -> bool:
    """Draw training loss and loss on held-out rows over the steps as a PNG; False without matplotlib."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        return False
    figure = Figure(figsize=(7, 4), dpi=120, layout="constrained")
    axes = figure.add_subplot()
    start = 0
    for stage in dict.fromkeys(row["stage"] for row in log):
        rows = [row for row in log if row["stage"] == stage]
        trained = [(start + row["step"], row["loss"]) for row in rows if "loss" in row]
        held_out = [(start + row["step"], row["evaluation"]["loss"]) for row in rows if "evaluation" in row]
        for points, name, style in ((trained, "trained on", "-"), (held_out, "held out", "o--")):
            if points:
                label = name if stage == "all" else f"{name} ({stage} alone)"
                axes.plot(*zip(*points, strict=True), style, label=label, linewidth=1, markersize=4)
        start += rows[-1]["step"]
    axes.set_xlabel("step")
    axes.set_ylabel("loss of a token (nats)")
    axes.grid(alpha=0.3)
    axes.legend()
    FigureCanvasAgg(figure).print_png(str(path))
    return True
