"""The driver's side: rows go out to LLM workers, and outcomes come back to be written down here.

Nothing but this process writes results, so that going on, reports and what a kill costs are those of any
engine. Media that are made arrive with their row's outcome and are files before it is written down.
"""

from __future__ import annotations

import asyncio
import atexit
import threading
from collections.abc import Awaitable, Coroutine, Iterator, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

from modaverse.batch.cluster import link
from modaverse.batch.cluster.crew import DEATHS, Crew, CrewFailed, WorkerDied
from modaverse.batch.cluster.parcels import Parcel, pack_request, unpack_outcome
from modaverse.batch.cluster.parts import Parts
from modaverse.batch.cluster.scratch import OwnFolder
from modaverse.batch.cluster.workers import Desk, GeneratorWorker, LanguageWorker, agreeing_with
from modaverse.batch.engine import Supply
from modaverse.batch.values import Failed, Outcome, Request
from modaverse.errors import InputError, ModaVerseError, ModelError
from modaverse.interfaces import CallSpec

_LOOK = 0.05  # seconds between looks at whether there are new rows
_LLM, _GENERATOR = "LLM worker", "generator worker"

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class ClusterSettings:
    """
    address: of a cluster that is running (`auto`, or host:port of its head); without one, this machine alone.
    llm_workers, generator_workers: processes of each kind.
    llm_gpus, generator_gpus: GPUs that each takes, or parts of one; 1 where the cluster has any, by default.
    worker_cpus: processor cores that each takes, which is also how many threads it computes with.
    """

    address: str | None = None
    llm_workers: int = 1
    generator_workers: int = 1
    llm_gpus: float | None = None
    generator_gpus: float | None = None
    worker_cpus: float = 1


class RayEngine:
    """Implements `batch.engine.Engine` on a Ray cluster.

    Args:
        folder: where media are put that were made.
        rows: requests that each LLM worker answers at a time.
    """

    def __init__(self, parts: Parts, folder: Path, settings: ClusterSettings, *, rows: int = 16) -> None:
        self._parts = parts
        self._folder = folder
        self._settings = settings
        self._rows = rows
        self._loop = asyncio.new_event_loop()
        self._thread: threading.Thread | None = None
        self._temporary: OwnFolder | None = None
        self._shares: tuple[link.Share, link.Share] = (link.Share(0, 0), link.Share(0, 0))
        self._identities: tuple[Mapping[str, str], Mapping[str, str]] = ({}, {})
        self._catalogue: tuple[CallSpec, ...] = ()
        self._crew: Crew[Request, Parcel[Outcome]] | None = None
        self._finished: SimpleQueue[Future[Outcome] | None] = SimpleQueue()
        self._trouble: ModaVerseError | None = None
        self._cancelled = False

    @property
    def in_flight(self) -> int:
        return self._rows * self._settings.llm_workers

    def identity(self) -> Mapping[str, str]:
        self._connect()
        return self._wait(self._ask_workers())

    def load(self) -> None:
        self._connect()
        self._wait(self._hire())

    def answer(self, rows: Supply) -> Iterator[Outcome]:
        flying = 0
        more = True
        while (more or flying) and not self._cancelled:
            while more and flying < self.in_flight and (not flying or rows.ready()):
                request = next(rows, None)
                more = request is not None
                if request is not None:
                    flying += 1
                    future = asyncio.run_coroutine_threadsafe(self._answered(request), self._loop)
                    future.add_done_callback(self._finished.put)
            outcome = self._next(_LOOK if more and flying < self.in_flight else None) if flying else None
            if self._trouble is not None:
                raise self._trouble
            if outcome is not None:
                flying -= 1
                yield outcome

    def cancel(self) -> None:
        self._cancelled = True
        self._finished.put(None)

    def close(self) -> None:
        atexit.unregister(self.close)
        if self._thread is not None:
            self._wait(self._leave())
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._thread = None
        self._loop.close()
        if self._temporary is not None:
            self._temporary.remove()

    # ----------------------------------------------------------------------------------- the cluster

    def _connect(self) -> None:
        """Start the thread in which everything goes on that has to do with Ray."""
        if self._thread is not None:
            return
        self._thread = threading.Thread(target=self._loop.run_forever, name="batch-cluster", daemon=True)
        self._thread.start()
        atexit.register(self.close)
        self._wait(self._start())

    def _wait(self, work: Coroutine[Any, Any, T]) -> T:
        """What `work` gives in that thread.

        Raises:
            ModelError: workers died of it.
        """
        try:
            return asyncio.run_coroutine_threadsafe(work, self._loop).result()
        except CrewFailed as failed:
            raise failed.error from failed
        except WorkerDied as death:
            raise ModelError(
                f"a worker died before it was ready: {death}", hint="Give each more memory."
            ) from death

    async def _start(self) -> None:
        settings = self._settings
        if settings.address is None:
            self._temporary = OwnFolder(prefix="modaverse-ray-")
        cpus = settings.worker_cpus * (settings.llm_workers + settings.generator_workers)
        has = link.start(settings.address, self._base, cpus=cpus)
        own = 1.0 if has.get("GPU") and self._parts.device != "cpu" else 0.0
        llm, generator = (
            link.Share(settings.worker_cpus, own if gpus is None else gpus)
            for gpus in (settings.llm_gpus, settings.generator_gpus)
        )
        self._shares = llm, generator

    @property
    def _base(self) -> Path | None:
        """Where workers of a cluster that was started here have their files, to go with it."""
        return None if self._temporary is None else self._temporary.path

    async def _leave(self) -> None:
        if self._crew is not None:
            self._crew.close()
        link.stop()
        if others := asyncio.all_tasks() - {asyncio.current_task()}:
            for task in others:
                task.cancel()
            await asyncio.wait(others, timeout=1)

    def _on(self, share: link.Share) -> Parts:
        """A worker has the GPUs that Ray gives it, and no others."""
        return self._parts.on("cuda" if share.gpus else "cpu")

    async def _ask_workers(self) -> Mapping[str, str]:
        """What decides the answers, as machines of the cluster find it; nothing is loaded for it."""
        llm, generator = self._shares
        language: Mapping[str, str] = await link.once(language_facts, self._on(llm), share=llm)
        made: tuple[Mapping[str, str], tuple[CallSpec, ...]] = ({}, ())
        if self._parts.places:
            made = await link.once(generator_facts, self._on(generator), share=generator)
        self._identities = (language, made[0])
        self._catalogue = made[1]
        return {**language, **made[0]}

    async def _hire(self) -> None:
        if not self._identities[0]:
            await self._ask_workers()
        llm, generator = self._shares
        desk = None
        if self._parts.places:
            post = link.Post(GeneratorWorker, (self._on(generator), self._base), generator)
            size, places = self._settings.generator_workers, self._parts.places
            terms = (post.hire, size, places, self._identities[1])
            desk = link.Post(Desk, terms, link.Share(0, 0), here=True).hire()
        make = link.AtDesk(None if desk is None else desk.actor)
        arguments = (self._on(llm), make, self._catalogue, self._rows, self._base)
        llm_post = link.Post(LanguageWorker, arguments, llm)
        self._crew = Crew(
            _LLM,
            lambda: llm_post.hire(_packed),
            size=self._settings.llm_workers,
            places=self._rows,
            agree=agreeing_with(self._identities[0], _LLM),
        )
        opening: list[Awaitable[object]] = [self._crew.open()]
        if desk is not None:
            opening.append(desk.open())
        await asyncio.gather(*opening)
        if desk is not None:
            self._watching = asyncio.create_task(self._watch(desk))

    async def _watch(self, desk: link.RayWorker[Any, Any]) -> None:
        """End the job where nobody is left who makes anything."""
        try:
            self._trouble = await desk.actor.trouble.remote()
        except Exception as error:
            self._trouble = ModelError(
                f"the process that hands out calls ended: {error}", hint="Run the job again; it goes on."
            )
        self._finished.put(None)

    # ------------------------------------------------------------------------------------------ rows

    async def _answered(self, request: Request) -> Outcome:
        """
        Raises:
            ModelError, StorageError: no other row can be answered either.
        """
        assert self._crew is not None
        try:
            parcel = await self._crew.do(request)
        except WorkerDied as death:
            cause = f"{DEATHS} workers died answering it, the last of them with nothing else to do: {death}"
            hint = "Ask for something smaller, or give LLM workers more memory; the next run tries it again."
            return Failed(request.id, cause, hint, type(death).__name__)
        except CrewFailed as failed:
            raise failed.error from failed
        except InputError as error:
            return Failed(request.id, error.message, error.hint, type(error).__name__)
        return await asyncio.to_thread(unpack_outcome, parcel, request, self._folder)

    def _next(self, timeout: float | None) -> Outcome | None:
        try:
            item = self._finished.get(timeout=timeout)
        except Empty:
            return None
        return None if item is None else item.result()


async def _packed(request: Request) -> Parcel[Request]:
    return await asyncio.to_thread(pack_request, request)


def language_facts(parts: Parts) -> Mapping[str, str] | ModaVerseError:
    """What decides what an LLM worker says, found out where one could run."""
    try:
        return parts.language_identity()
    except ModaVerseError as error:
        return error


def generator_facts(
    parts: Parts,
) -> tuple[Mapping[str, str], tuple[CallSpec, ...]] | ModaVerseError:
    """What decides what a generator worker makes, and what can be called there."""
    try:
        with parts.generators(Path()) as pool:  # nothing is made, so nothing is written
            return parts.generator_identity(), tuple(pool.catalogue.values())
    except ModaVerseError as error:
        return error
