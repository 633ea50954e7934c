"""What a thing's drawing function is told."""

from __future__ import annotations

from dataclasses import dataclass

from modaverse.toybox.pictures.colours import Paint


@dataclass(frozen=True, slots=True)
class Look:
    """How a thing looks this once.

    `vary` holds eight values in [-1, 1] for its proportions, `phase` (0..1) is where it stands in the
    cycle of its own movement: steps, wings, wheels, flame, swing, hands.
    """

    paint: Paint
    vary: tuple[float, ...]
    phase: float
