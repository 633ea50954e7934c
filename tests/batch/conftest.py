"""Jobs of scripted rows, run in a folder of the test's own."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest

from modaverse.batch.events import BatchEvent, Finished
from modaverse.batch.run import run_batch
from modaverse.batch.settings import BatchSettings
from modaverse.batch.testing import ScriptedEngine

PIXEL = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAIAAAACCAIAAAD91JpzAAAAFklEQVR4nGP8z8DAwMDAxMDAwMDA"
    "AAANHQEDasKb6QAAAABJRU5ErkJggg=="
)


def own_row(row_id: str, instruction: str, **more: Any) -> dict[str, Any]:
    return {"id": row_id, "instruction": instruction, **more}


def their_row(row_id: str, *content: Any, **body: Any) -> dict[str, Any]:
    message = {"role": "user", "content": content[0] if len(content) == 1 else list(content)}
    return {
        "custom_id": row_id,
        "method": "POST",
        "url": "/v1/chat/completions",
        "body": {"model": "m", "messages": [message], **body},
    }


class Bench:
    """A file of jobs, its results, and engines to run it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.jobs = folder / "jobs.jsonl"
        self.out = folder / "out"
        self.engine = self.engine_of()

    def engine_of(self, **options: Any) -> ScriptedEngine:
        return ScriptedEngine(self.out / "media", **options)

    def write(self, rows: Iterable[Mapping[str, Any] | str]) -> None:
        lines = (line if isinstance(line, str) else json.dumps(line) for line in rows)
        self.jobs.write_text("".join(f"{line}\n" for line in lines))

    def run(
        self, engine: ScriptedEngine | None = None, stop: Callable[[], bool] = lambda: False, **settings: Any
    ) -> list[BatchEvent]:
        self.engine = engine or self.engine_of()
        return list(run_batch(self.jobs, self.out, self.engine, BatchSettings(**settings), stop=stop))

    def finish(self, engine: ScriptedEngine | None = None, **settings: Any) -> Finished:
        end = self.run(engine, **settings)[-1]
        assert isinstance(end, Finished)
        return end

    def rows_of(self, name: str) -> list[dict[str, Any]]:
        path = self.out / name
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    @property
    def results(self) -> list[dict[str, Any]]:
        return self.rows_of("results.jsonl")

    @property
    def errors(self) -> list[dict[str, Any]]:
        return self.rows_of("errors.jsonl")

    def ids(self, name: str = "results.jsonl") -> list[str]:
        return sorted(entry.get("custom_id", entry.get("id")) or "" for entry in self.rows_of(name))


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


@pytest.fixture
def row() -> Callable[..., dict[str, Any]]:
    """A row in our form."""
    return own_row


@pytest.fixture
def openai_row() -> Callable[..., dict[str, Any]]:
    """A row in OpenAI's form."""
    return their_row


@pytest.fixture
def pixel() -> str:
    """A tiny picture as a data URI."""
    return PIXEL


@pytest.fixture
def png() -> bytes:
    """The same picture as a file."""
    return base64.b64decode(PIXEL.partition(",")[2])
