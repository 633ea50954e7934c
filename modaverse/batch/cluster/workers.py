"""What runs in the actors: an LLM worker, a generator worker, and the desk between them.

Plain classes; `link` makes Ray actors of them. All their methods are coroutines, so that one actor has
many rows or calls under way. A deliberate error is returned instead of being raised, so that it arrives as it
is; what is raised is a bug, or the end of a crew.
"""

from __future__ import annotations

import asyncio
import atexit
import threading
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from pathlib import Path

from modaverse.batch.cluster.crew import DEATHS, Crew, CrewFailed, Worker, WorkerDied
from modaverse.batch.cluster.parcels import (
    Parcel,
    pack,
    pack_outcome,
    unpack_call,
    unpack_request,
)
from modaverse.batch.cluster.parts import Parts
from modaverse.batch.cluster.pool import Make, RemotePool
from modaverse.batch.cluster.scratch import OwnFolder, Scratch
from modaverse.batch.folder import differences
from modaverse.batch.local import LocalEngine
from modaverse.batch.pump import Rows
from modaverse.batch.values import Outcome, Request
from modaverse.context import Media
from modaverse.errors import CheckpointError, GenerationError, ModaVerseError
from modaverse.generation import Call, GeneratorPool
from modaverse.interfaces import CallSpec, GenerationRequest

CallParcel = Parcel[GenerationRequest]
Made = Parcel[Media]
Opened = Mapping[str, str] | ModaVerseError
"""What decides a worker's results, or why it cannot be used."""


def agreeing_with(expected: Mapping[str, str], name: str) -> Callable[[Mapping[str, str]], None]:
    """Refuses workers whose results would differ from those of the others."""

    def agree(facts: Mapping[str, str]) -> None:
        if facts != expected:
            raise CheckpointError(
                f"a {name} would answer otherwise: {'; '.join(differences(expected, facts))}",
                hint="Give all machines the same files, versions and processors.",
            )

    return agree


class LanguageWorker:
    """An LLM and an encoder, which answer `rows` requests at a time.

    Args:
        make: has a call made by a generator worker.
        catalogue: what may be called.
        base: folder for temporary files; the machine's own where none is given.
    """

    def __init__(
        self, parts: Parts, make: Make, catalogue: Iterable[CallSpec], rows: int, base: Path | None = None
    ) -> None:
        self._parts, self._make, self._catalogue, self._rows = parts, make, catalogue, rows
        own = OwnFolder(base, prefix="modaverse-llm-")
        atexit.register(own.remove)
        self._scratch = Scratch(own.path)

    async def open(self) -> Opened:
        """Load the LLM and begin to answer."""
        loop = asyncio.get_running_loop()
        pool = RemotePool(loop, self._make, self._catalogue, lambda: self._scratch.folder)
        try:
            models = self._parts.language(self._scratch.folder, pool)
            engine = LocalEngine(models, rows=self._rows)
            identity = await asyncio.to_thread(self._parts.language_identity)
            await asyncio.to_thread(engine.load)
        except ModaVerseError as error:
            return error
        self._answering = Answering(engine)
        return identity

    async def work(self, parcel: Parcel[Request]) -> Parcel[Outcome] | ModaVerseError:
        """Answer a row."""
        with self._scratch.held():
            try:
                request = await asyncio.to_thread(unpack_request, parcel, self._scratch.folder)
                outcome = await asyncio.wrap_future(self._answering.answer(request))
                return await asyncio.to_thread(pack_outcome, outcome)
            except ModaVerseError as error:
                return error


class Answering:
    """An engine that answers rows as they come, in a thread of its own."""

    def __init__(self, engine: LocalEngine) -> None:
        self._engine = engine
        self._supply = Rows(engine.in_flight)
        self._lock = threading.Lock()
        self._futures: dict[str, Future[Outcome]] = {}
        self._ended: BaseException | None = None
        threading.Thread(target=self._run, name="batch-answering", daemon=True).start()

    def answer(self, request: Request) -> Future[Outcome]:
        """What becomes of a row; what ends the engine is raised for all of them."""
        future: Future[Outcome] = Future()
        with self._lock:
            if self._ended is not None:
                future.set_exception(self._ended)
                return future
            self._futures[request.id] = future
        self._supply.put(request)
        self._engine.wake()
        return future

    def _run(self) -> None:
        try:
            for outcome in self._engine.answer(self._supply):
                self._futures.pop(outcome.id).set_result(outcome)
        except BaseException as error:
            with self._lock:
                self._ended = error
            self._supply.close()
            for future in self._futures.values():
                future.set_exception(error)


class GeneratorWorker:
    """All generators of a profile, of which those that are called are loaded.

    Args:
        base: folder for temporary files; the machine's own where none is given.
    """

    def __init__(self, parts: Parts, base: Path | None = None) -> None:
        self._parts = parts
        own = OwnFolder(base, prefix="modaverse-generators-")
        atexit.register(own.remove)
        self._scratch = Scratch(own.path)

    async def open(self) -> Opened:
        """Find the generators' files; they are loaded when they are called."""
        try:
            identity = await asyncio.to_thread(self._parts.generator_identity)
            self._pool: GeneratorPool = self._parts.generators(self._scratch.folder)
        except ModaVerseError as error:
            return error
        return identity

    async def work(self, parcel: CallParcel) -> Made | ModaVerseError:
        """Make what is called for."""
        with self._scratch.held():
            self._pool.folder = folder = self._scratch.folder
            try:
                request = await asyncio.to_thread(unpack_call, parcel, folder)
                medium = await _made(self._pool.submit(request))
                return await asyncio.to_thread(pack, medium, [medium])
            except ModaVerseError as error:
                return error


async def _made(call: Call) -> Media:
    loop = asyncio.get_running_loop()
    done = asyncio.Event()
    call.when_done(lambda: loop.call_soon_threadsafe(done.set))
    await done.wait()
    return call.result()


class Desk:
    """Takes the calls of all LLM workers and hands them out to the generator workers.

    Args:
        hire: makes a generator worker.
        size: how many there are.
        places: calls that each of them has at a time.
        identity: what they must agree on.
    """

    def __init__(
        self,
        hire: Callable[[], Worker[CallParcel, Made]],
        size: int,
        places: int,
        identity: Mapping[str, str],
    ) -> None:
        agree = agreeing_with(identity, "generator worker")
        self._crew = Crew("generator worker", hire, size=size, places=places, agree=agree)

    async def open(self) -> Opened:
        """Hire the workers; returns as soon as one of them is ready."""
        try:
            await self._crew.open()
        except CrewFailed as failed:
            return failed.error
        return {}

    async def work(self, parcel: CallParcel) -> Made | ModaVerseError:
        """Have a call made.

        Raises:
            CrewFailed: there is nobody left who could.
        """
        try:
            return await self._crew.do(parcel)
        except WorkerDied as death:
            return GenerationError(
                f"{DEATHS} workers died making it, the last of them with nothing else to do: {death}",
                hint="Ask for something smaller, or give generator workers more memory.",
            )
        except ModaVerseError as error:
            return error

    async def trouble(self) -> ModaVerseError:
        """Wait until there is nobody left who makes anything, and say why."""
        return await self._crew.failed()
