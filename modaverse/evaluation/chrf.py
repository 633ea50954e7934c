"""chrF: how far two texts agree in their sequences of characters (Popović 2015, WMT, "chrF: character n-gram
F-score for automatic MT evaluation").
"""

from __future__ import annotations

from collections import Counter

ORDER = 6
"""Longest sequences that are counted."""

BETA = 2.0
"""Recall counts BETA times as much as precision."""


def chrf(said: str, wanted: str) -> float:
    """chrF2 of a text against the one that was wanted, from 0 to 1.

    Spaces do not count. Precision and recall are averaged over the lengths that both texts have.
    """
    precision = recall = 0.0
    orders = 0
    for length in range(1, ORDER + 1):
        mine, theirs = _counts(said, length), _counts(wanted, length)
        if not mine or not theirs:
            break
        shared = (mine & theirs).total()
        precision += shared / mine.total()
        recall += shared / theirs.total()
        orders += 1
    if not precision or not recall:
        return 0.0
    precision, recall = precision / orders, recall / orders
    return (1 + BETA**2) * precision * recall / (BETA**2 * precision + recall)


def _counts(text: str, length: int) -> Counter[str]:
    joined = "".join(text.split())
    return Counter(joined[start : start + length] for start in range(len(joined) - length + 1))
