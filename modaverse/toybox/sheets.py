"""Contact sheets: many pictures on one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image

from modaverse.errors import DataError
from modaverse.interfaces import Pixels


def contact_sheet(pictures: Sequence[Pixels], columns: int, scale: int = 1, *, gap: int = 4) -> Pixels:
    """Pictures of one size in rows of `columns`, each enlarged `scale` times, on white, `gap` pixels apart.

    Raises:
        DataError: no picture, pictures of different sizes, or `columns` or `scale` below 1.
    """
    if not pictures or columns < 1 or scale < 1:
        raise DataError(
            "a contact sheet needs a picture, a column and a scale of 1 or more", hint="Give at least one."
        )
    shapes = {picture.array.shape for picture in pictures}
    if len(shapes) > 1:
        raise DataError(
            f"a contact sheet of different sizes: {sorted(shapes)}", hint="Render them at one size."
        )
    height, width, _ = (n * scale for n in pictures[0].array.shape)
    rows = -(-len(pictures) // columns)
    sheet = np.full((rows * (height + gap) + gap, columns * (width + gap) + gap, 3), 255, dtype=np.uint8)
    for k, picture in enumerate(pictures):
        y, x = gap + k // columns * (height + gap), gap + k % columns * (width + gap)
        large = Image.fromarray(picture.array).resize((width, height), Image.Resampling.LANCZOS)
        sheet[y : y + height, x : x + width] = np.asarray(large)
    return Pixels(sheet)
