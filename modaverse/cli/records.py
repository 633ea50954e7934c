"""Events as JSON: the fields of the value types under their own names, plus `type`."""

from __future__ import annotations

import json
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, TextIO

from modaverse.context import Event


def record(value: Any) -> Any:
    """A value type as plain JSON values; `type` is the name of its class."""
    if is_dataclass(value) and not isinstance(value, type):
        named = {field.name: record(getattr(value, field.name)) for field in fields(value)}
        return {"type": type(value).__name__, **named}
    if isinstance(value, dict):
        return {str(key): record(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [record(item) for item in value]
    if isinstance(value, Path):
        return str(value)
    return value


class JsonLines:
    """Shows events as one JSON object a line, each written at once."""

    def __init__(self, out: TextIO) -> None:
        self._out = out

    def show(self, event: Event) -> None:
        self.write(record(event))

    def write(self, row: dict[str, Any]) -> None:
        print(json.dumps(row, ensure_ascii=False), file=self._out, flush=True)

    def saved(self, page: Path) -> None:
        self.write({"type": "Saved", "page": str(page)})

    def close(self) -> None:
        pass
