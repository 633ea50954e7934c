"""Foreign pictures are of many kinds, and those held out are not those of training."""

from __future__ import annotations

import numpy as np
import pytest

from modaverse.errors import DataError
from modaverse.toybox.pictures import FOREIGN, FOREIGN_HELD_OUT, FOREIGN_TRAIN, foreign_picture
from modaverse.toybox.world import THINGS


def test_half_of_the_kinds_are_held_out() -> None:
    assert len(FOREIGN_TRAIN) == len(FOREIGN_HELD_OUT) >= 8
    assert not set(FOREIGN_TRAIN) & set(FOREIGN_HELD_OUT)
    assert set(FOREIGN) == {*FOREIGN_TRAIN, *FOREIGN_HELD_OUT}
    assert not set(FOREIGN) & set(THINGS)


@pytest.mark.parametrize("kind", FOREIGN)
def test_every_kind_is_drawn_anew_from_the_seed_alone(kind: str) -> None:
    first = foreign_picture(1, kinds=[kind]).array
    assert first.shape == (64, 64, 3)
    assert first.dtype == np.uint8
    assert first.std() > 3
    assert np.array_equal(first, foreign_picture(1, kinds=[kind]).array)
    assert np.abs(first - foreign_picture(2, kinds=[kind]).array.astype(int)).mean() > 3
    assert foreign_picture(1, kinds=[kind], size=96).array.shape == (96, 96, 3)


def test_only_the_kinds_asked_for_come() -> None:
    """A checkerboard has two colours exactly, which no other kind has."""
    rng = np.random.default_rng(0)
    for _ in range(10):
        picture = foreign_picture(rng, kinds=["checkerboard"]).array
        assert len(np.unique(picture.reshape(-1, 3), axis=0)) == 2


@pytest.mark.parametrize("kinds", [[], ["cat"], ["house", "unicorn"]])
def test_a_kind_that_does_not_exist_is_an_error(kinds: list[str]) -> None:
    with pytest.raises(DataError, match="foreign") as caught:
        foreign_picture(0, kinds=kinds)
    assert "house" in caught.value.hint
