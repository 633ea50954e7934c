"""What `modaverse data` shows."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from modaverse.training.validation import Tally


def show_tally(tally: Tally, *, limit: int) -> None:
    """The first faults, a line each, and the sums."""
    for fault in tally.faults[:limit]:
        print(" ".join(f"{fault.where}: {fault.message}  hint: {fault.hint}".splitlines()))
    if len(tally.faults) > limit:
        print(f"... and {len(tally.faults) - limit:,} more")
    print(
        f"rows {tally.rows:,}, wrong {tally.wrong:,}, faults {len(tally.faults):,}; "
        f"turns {tally.turns:,}, media {tally.media:,}, calls {tally.calls:,}"
    )


def show_json(tally: Tally) -> None:
    sums = {name: getattr(tally, name) for name in ("files", "rows", "wrong", "turns", "media", "calls")}
    faults = [
        {"file": str(fault.file), "line": fault.line, "message": fault.message, "hint": fault.hint}
        for fault in tally.faults
    ]
    print(json.dumps({**sums, "faults": faults}, ensure_ascii=False))
