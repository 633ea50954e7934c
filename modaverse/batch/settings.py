"""How a batch job is run."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from modaverse.media import MediaLimits
from modaverse.media.apart import SECONDS


@dataclass(frozen=True, slots=True)
class BatchSettings:
    """
    fresh: move the results that lie in the folder aside, and begin anew.
    allow_mixed: go on where the results that lie there were made with other settings or models, and keep
        answers to rows that were changed since.
    seed: with a row's id it makes the seed of a row that has none.
    media_root: folder below which all media must lie; that of the rows where none is given.
    allow_hosts: hosts from which media may be fetched (`example.org`, `*.example.org`).
    limits: what a single medium may cost.
    decode_seconds: how long reading one medium may take.
    shown_faults: how many wrong rows are told of one by one; all are in errors.jsonl.
    """

    fresh: bool = False
    allow_mixed: bool = False
    seed: int = 0
    media_root: Path | None = None
    allow_hosts: tuple[str, ...] = ()
    limits: MediaLimits = field(default_factory=MediaLimits)
    decode_seconds: float = SECONDS
    shown_faults: int = 20
