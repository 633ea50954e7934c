"""What runs in the actors, in this process: rows in, calls out, media back, and files that go away again."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from modaverse.batch.cluster.crew import CrewFailed, WorkerDied
from modaverse.batch.cluster.parcels import Parcel, pack_request, unpack_outcome, unpack_request
from modaverse.batch.cluster.scratch import OwnFolder, Scratch
from modaverse.batch.cluster.workers import Desk, GeneratorWorker, LanguageWorker
from modaverse.batch.testing import ScriptedParts
from modaverse.batch.values import Answered, Failed, Request
from modaverse.context import Media, Text
from modaverse.errors import CheckpointError, MediaError, ModaVerseError
from modaverse.interfaces import GenerationRequest, Pixels
from modaverse.media import write_media

CAT = '<meta>{"Model": "T-to-I", "Input": "a cat"}</meta>'


class Here:
    """A worker in this process; implements `crew.Worker`."""

    def __init__(self, worker: Any) -> None:
        self._worker = worker

    async def open(self) -> Mapping[str, str]:
        return result(await self._worker.open())

    async def work(self, task: Any) -> Any:
        return result(await self._worker.work(task))

    def dismiss(self) -> None:
        pass


def result(value: Any) -> Any:
    if isinstance(value, ModaVerseError):
        raise value
    return value


class Cluster:
    """Both kinds of workers and a desk."""

    def __init__(self, folder: Path, parts: ScriptedParts, **identity: str) -> None:
        self.folder = folder
        self.parts = parts
        agreed = identity or dict(parts.generator_identity())
        self.desk = Desk(lambda: Here(GeneratorWorker(parts, folder)), 1, parts.places, agreed)

    async def open(self) -> None:
        with self.parts.generators(self.folder / "none") as pool:
            catalogue = list(pool.catalogue.values())
        self.llm = LanguageWorker(self.parts, self._make, catalogue, 4, self.folder)
        result(await self.desk.open())
        assert await self.llm.open() == {"llm": "scripted"}

    async def _make(self, parcel: Parcel[GenerationRequest]) -> Parcel[Media]:
        made: Parcel[Media] = result(await self.desk.work(parcel))
        return made


@pytest.fixture
def picture(tmp_path: Path) -> Media:
    import numpy as np

    return write_media(Pixels(np.zeros((4, 4, 3), np.uint8)), tmp_path / "given")


def test_rows_are_answered_with_what_others_make(tmp_path: Path) -> None:
    rows = [Request(str(n), (Text(f"Row {n}{CAT * (n % 2)}"),), n) for n in range(8)]

    async def work() -> None:
        cluster = Cluster(tmp_path, ScriptedParts(tmp_path / "pids"))
        await cluster.open()
        parcels = await asyncio.gather(*(cluster.llm.work(pack_request(row)) for row in rows))
        for row, parcel in zip(rows, parcels, strict=True):
            outcome = unpack_outcome(result(parcel), row, tmp_path / "media")
            assert isinstance(outcome, Answered)
            assert outcome.reply.request == row.parts
            assert outcome.reply.text == f"Row {row.id}"
            assert [medium.path.parent for medium in outcome.reply.media] == [tmp_path / "media"] * (
                row.seed % 2
            )
            assert all(medium.path.is_file() for medium in outcome.reply.media)

    asyncio.run(work())


def test_what_goes_wrong_in_a_row_is_its_own_failure(tmp_path: Path) -> None:
    async def work() -> None:
        cluster = Cluster(tmp_path, ScriptedParts(tmp_path / "pids"))
        await cluster.open()

        async def nobody(parcel: object) -> Any:
            raise WorkerDied("fell over")

        cluster.desk._crew.do = nobody  # type: ignore[method-assign, assignment]
        row = Request("1", (Text(f"Look: {CAT}"),), 1)
        outcome = result(await cluster.llm.work(pack_request(row))).value
        assert isinstance(outcome, Failed)
        assert "3 workers died making it" in outcome.cause
        assert "fell over" in outcome.cause

    asyncio.run(work())


def test_a_generator_worker_with_other_weights_is_refused(tmp_path: Path) -> None:
    async def work() -> None:
        desk = Cluster(tmp_path, ScriptedParts(tmp_path / "pids"), weights="others").desk
        error = await desk.open()
        assert isinstance(error, CheckpointError)
        assert "weights was others and is absent" in error.message
        assert await desk.trouble() is error
        with pytest.raises(CrewFailed):
            await desk.work(Parcel(GenerationRequest("T-to-I", "a cat", 1), {}))

    asyncio.run(work())


def test_media_travel_and_must_be_what_was_looked_at(tmp_path: Path, picture: Media) -> None:
    request = Request("1", (picture, Text("What is it?")), 1)
    parcel = pack_request(request)
    (there, words) = unpack_request(parcel, tmp_path / "there").parts
    assert isinstance(there, Media)
    assert (there.sha256, there.path.parent, words) == (
        picture.sha256,
        tmp_path / "there",
        Text("What is it?"),
    )
    picture.path.write_bytes(b"something else")
    with pytest.raises(MediaError, match="changed since it was looked at"):
        unpack_request(pack_request(request), tmp_path / "there")
    picture.path.unlink()
    with pytest.raises(MediaError, match="cannot be read any more"):
        pack_request(request)


# ------------------------------------------------------------------------------------------- files


def test_files_stay_while_what_began_before_them_is_in_flight(tmp_path: Path) -> None:
    scratch = Scratch(tmp_path, turn=2)
    old = scratch.held()
    old.__enter__()
    for name in "abc":
        with scratch.held():
            (scratch.folder / name).touch()
    assert sorted(path.name for path in tmp_path.rglob("?")) == ["a", "b", "c"]
    old.__exit__(None, None, None)
    assert scratch.folder.is_dir()
    assert len(list(tmp_path.iterdir())) == 1
    for _ in range(20):
        with scratch.held():
            (scratch.folder / "d").touch()
    assert len(list(tmp_path.iterdir())) == 1


def test_folders_of_killed_processes_are_removed_and_no_others(tmp_path: Path) -> None:
    script = (
        "import os, pathlib\n"
        "from modaverse.batch.cluster.scratch import OwnFolder\n"
        f"folder = OwnFolder(pathlib.Path({str(tmp_path)!r}))\n"
        "(folder.path / 'left').touch()\n"
        "os._exit(9)\n"
    )
    subprocess.run([sys.executable, "-c", script], check=False, env=os.environ.copy())
    (left,) = tmp_path.glob("modaverse-*/left")
    mine, other = OwnFolder(tmp_path), OwnFolder(tmp_path)
    assert not left.exists()
    assert {path.name for path in tmp_path.iterdir()} == {mine.path.name, other.path.name}
    for folder in (mine, other):
        folder.remove()
        folder.remove()
    assert list(tmp_path.iterdir()) == []
