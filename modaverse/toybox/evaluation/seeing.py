"""The judge's word on media that lie on disk."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from modaverse.context import Media
from modaverse.media import decode
from modaverse.toybox.judge import Judge, Verdict


def judged(judge: Judge, media: Sequence[Media | None]) -> list[Verdict | None]:
    """The judge's verdict on each file; None where there is none, or no network for its modality."""
    looked_at = [medium is not None and medium.modality in judge.nets for medium in media]
    files = [medium for medium, wanted in zip(media, looked_at, strict=True) if medium and wanted]
    verdicts = iter(judge([decode(file) for file in files]))
    return [next(verdicts) if wanted else None for wanted in looked_at]


def shown(verdict: Verdict | None) -> dict[str, Any] | None:
    """A verdict for the record, without what it does not say."""
    if verdict is None:
        return None
    return {name: value for name, value in asdict(verdict).items() if value is not None}
