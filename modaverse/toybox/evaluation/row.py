"""What a row of the table is: cases, how they are run, and the bars that the measures are held to."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from modaverse.toybox.evaluation.specimens import Specimen
from modaverse.toybox.evaluation.statistics import Estimate, proportion
from modaverse.toybox.wordings.wishes import AnyScene, Wish

if TYPE_CHECKING:
    from modaverse.toybox.evaluation.parts import Parts


@dataclass(frozen=True, slots=True)
class Case:
    """One thing to try.

    Args:
        id: unique within its row; the same count and seed make the same cases.
        seed: of all that is drawn while it is answered.
        parts: the request: text, and media that are rendered when they are needed.
        wishes: the media that must come of it, in order; no wish means that nothing may be made.
        calls: what makes them, one for each wish.
        scene: what the given medium shows, or the one that the test splices.
        spliced: what the test puts in the place of the medium that was asked for.
        asks: the attributes that the answer must say.
    """

    id: str
    seed: int
    parts: tuple[str | Specimen, ...] = ()
    wishes: tuple[Wish, ...] = ()
    scene: AnyScene | None = None
    spliced: Specimen | None = None
    asks: tuple[str, ...] = ()
    calls: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a case: whether each measure was right, numbers, and facts for people who look it up.

    A measure that a case does not ask for is not among its marks. All values are JSON's.
    """

    case: str
    marks: Mapping[str, bool] = field(default_factory=dict)
    numbers: Mapping[str, list[float]] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Bar:
    """A measure of a row, and what it must reach (nothing, where it is only shown)."""

    measure: str
    title: str
    at_least: float | None = None
    at_most: float | None = None
    unit: str = "%"  # "%", "×" or "" (a count)

    def holds(self, estimate: Estimate) -> bool | None:
        """Whether the measured value holds the bar; None where there is no bar or nothing was measured."""
        if not estimate.count or (self.at_least is None and self.at_most is None):
            return None
        above = self.at_least is None or estimate.value >= self.at_least
        return above and (self.at_most is None or estimate.value <= self.at_most)

    def wrong(self, outcome: Outcome) -> bool:
        """Whether a case counts against the bar."""
        return outcome.marks.get(self.measure) is (self.at_most is not None)


def share(outcomes: Sequence[Outcome], measure: str) -> Estimate:
    """The share of right marks among the outcomes that have one."""
    return proportion([outcome.marks[measure] for outcome in outcomes if measure in outcome.marks])


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the table.

    Args:
        name: for `--rows`.
        needs: names of mini's parts that it runs.
        count: how many cases it takes.
        cases: (count, seed) → cases; the first n are the same for every count.
        run: what came of some cases, in order.
        chunk: cases that are run, and kept, together.
        summarise: (outcomes, measure) → estimate.
        version: raise it when outcomes that were kept no longer mean the same.
    """

    name: str
    title: str
    needs: tuple[str, ...]
    bars: tuple[Bar, ...]
    count: int
    cases: Callable[[int, int], list[Case]]
    run: Callable[[Parts, Sequence[Case]], list[Outcome]]
    chunk: int = 48
    summarise: Callable[[Sequence[Outcome], str], Estimate] = share
    version: int = 1

    def key(self, case: Case, fingerprint: str) -> str:
        """What identifies an outcome: the case itself, the row and the weights that were measured."""
        spelled = f"{self.name}\0{self.version}\0{case!r}\0{fingerprint}"
        return hashlib.sha256(spelled.encode()).hexdigest()[:24]
