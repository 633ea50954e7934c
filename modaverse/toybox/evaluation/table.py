"""All rows of the table, in order."""

from __future__ import annotations

from modaverse.context import Modality
from modaverse.toybox.evaluation.alone import alone_rows
from modaverse.toybox.evaluation.candidates import candidates_row
from modaverse.toybox.evaluation.copying import copying_row
from modaverse.toybox.evaluation.dialogues import dialogue_rows
from modaverse.toybox.evaluation.editing import editing_rows
from modaverse.toybox.evaluation.reconstructing import reconstruction_row
from modaverse.toybox.evaluation.row import Row

ROWS: tuple[Row, ...] = (
    *dialogue_rows(),
    *(copying_row(modality) for modality in Modality),
    *alone_rows(),
    *(reconstruction_row(modality) for modality in Modality),
    *editing_rows(),
    candidates_row(),
)
