"""Contact sheets hold every picture, in order."""

from __future__ import annotations

import numpy as np
import pytest

from modaverse.errors import DataError
from modaverse.interfaces import Pixels
from modaverse.toybox.sheets import contact_sheet


def _plain(value: int, size: int = 8) -> Pixels:
    return Pixels(np.full((size, size, 3), value, dtype=np.uint8))


def test_pictures_lie_in_rows() -> None:
    sheet = contact_sheet([_plain(10), _plain(20), _plain(30)], 2, 3, gap=2).array
    assert sheet.shape == (2 * 26 + 2, 2 * 26 + 2, 3)
    assert [sheet[2, 2, 0], sheet[2, 28, 0], sheet[28, 2, 0], sheet[28, 28, 0]] == [10, 20, 30, 255]


@pytest.mark.parametrize(
    ("pictures", "columns", "scale"),
    [([], 1, 1), ([_plain(1)], 0, 1), ([_plain(1)], 1, 0), ([_plain(1), _plain(1, 9)], 2, 1)],
)
def test_what_makes_no_sheet_is_an_error(pictures: list[Pixels], columns: int, scale: int) -> None:
    with pytest.raises(DataError):
        contact_sheet(pictures, columns, scale)
