from __future__ import annotations

import pytest

from modaverse.evaluation.chrf import chrf


@pytest.mark.parametrize(
    ("said", "wanted", "value"),
    [
        ("a red cat", "a red cat", 1.0),
        ("a  red\ncat", "ared cat", 1.0),  # spaces do not count
        ("dog", "xyz", 0.0),
        ("", "a cat", 0.0),
        ("a cat", "", 0.0),
        # Lengths 1 and 2: precision (2/2 + 1/1) / 2, recall (2/4 + 1/3) / 2; the others only one text has.
        ("ab", "abcd", 5 * 1 * (5 / 12) / (4 * 1 + 5 / 12)),
        # The same the other way round: what is too much weighs less than what is missing.
        ("abcd", "ab", 5 * (5 / 12) * 1 / (4 * (5 / 12) + 1)),
        # One letter of three differs: lengths 1, 2 and 3 share 2/3, 1/2 and 0.
        ("abc", "abd", (2 / 3 + 1 / 2) / 3),
        # A repeated letter counts as often as both have it.
        ("aa", "ab", 1 / 4),
    ],
)
def test_known_values(said: str, wanted: str, value: float) -> None:
    assert chrf(said, wanted) == pytest.approx(value)
