"""Whether calls that could share a run are quicker so, measured on the machine that runs them.

Small networks on a GPU hardly notice a second prompt, large ones on a CPU gain nothing by it: nobody knows
but a clock. The first call of a kind runs alone; the first time that several wait, they share a run; from
then on the quicker way is taken.
"""

from __future__ import annotations

import threading

_GAIN = 0.95  # a shared run must take at most this part of the time that its calls take alone


class Pace:
    """How long runs took, by kind of call and number of calls. Safe to use from any thread."""

    def __init__(self) -> None:
        self._seconds: dict[tuple[str, int], float] = {}
        self._lock = threading.Lock()

    def note(self, kind: str, calls: int, seconds: float) -> None:
        """A run of so many calls took so long; the shortest counts, as the others were held up."""
        with self._lock:
            known = self._seconds.get((kind, calls), seconds)
            self._seconds[kind, calls] = min(known, seconds)

    def share(self, kind: str, waiting: int) -> int:
        """How many of so many calls that wait are to share a run."""
        with self._lock:
            alone = self._seconds.get((kind, 1))
            together = self._seconds.get((kind, waiting))
        if alone is None:
            return 1
        if together is None:
            return waiting
        return waiting if together <= _GAIN * alone * waiting else 1
