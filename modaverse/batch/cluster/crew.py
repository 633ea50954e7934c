"""Workers that may die, and work that must not be lost with them.

    do(task) ─► waits for a place ─► a worker ─┬─► its result
                      ▲                        └─► the worker died: another one, at most `DEATHS` in all
                      └──────────────────────────────┘

A worker has places for several tasks, so that who is to blame for its end cannot be seen. A task that was
there twice has its last try alone with a worker, and is given up if that one dies as well: what is innocent
is not blamed, and what kills every worker does not go round for ever. A worker that died is replaced.

All of it runs in one event loop.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

from modaverse.errors import ModaVerseError, ModelError

DEATHS = 3
"""Workers that may die of one task."""
_STARTS = 3  # workers in a row that may die before they are ready, for each place of the crew
_PATIENCE = 30.0  # seconds until it is said that nobody is ready yet

_log = logging.getLogger(__name__)

T = TypeVar("T")
R = TypeVar("R")
_Task = TypeVar("_Task", contravariant=True)
_Result = TypeVar("_Result", covariant=True)


class WorkerDied(Exception):
    """A worker ended, and with it whatever it was doing; the message says how."""


class CrewFailed(Exception):
    """There is nobody left who could do anything; `error` says why."""

    def __init__(self, error: ModaVerseError) -> None:
        super().__init__(error)
        self.error = error


class Worker(Protocol[_Task, _Result]):
    """Somebody who does one thing after another, or several at a time.

    Raises (`open`, `work`):
        WorkerDied: it is no more.
        ModaVerseError: it cannot be used; this task cannot be done.
    """

    async def open(self) -> Mapping[str, str]:
        """Make it ready; what decides its results, each thing under its name."""
        ...

    async def work(self, task: _Task) -> _Result: ...

    def dismiss(self) -> None:
        """Let it go, dead or alive."""
        ...


@dataclass(eq=False)
class _Member(Generic[T, R]):
    worker: Worker[T, R]
    tasks: int = 0
    alone: bool = False  # with the one task it has
    gone: asyncio.Event = field(default_factory=asyncio.Event)


class Crew(Generic[T, R]):
    """`size` workers with `places` for tasks each; they join as they become ready.

    Args:
        name: what they are called in messages.
        hire: makes a worker, which is opened next.
        agree: is given what each one says that decides its results; what it raises ends the crew.
    """

    def __init__(
        self,
        name: str,
        hire: Callable[[], Worker[T, R]],
        *,
        size: int,
        places: int,
        agree: Callable[[Mapping[str, str]], None] = lambda facts: None,
    ) -> None:
        self._name = name
        self._hire = hire
        self._size = size
        self._places = places
        self._agree = agree
        self._members: list[_Member[T, R]] = []
        self._waiting: deque[asyncio.Future[_Member[T, R]]] = deque()
        self._suspects: deque[asyncio.Future[_Member[T, R]]] = deque()  # wait for a worker of their own
        self._somebody = asyncio.Event()  # a first worker is ready, or none ever will be
        self._broken = asyncio.Event()
        self._given_up = 0
        self._failure: CrewFailed | None = None
        self._jobs: list[asyncio.Task[None]] = []

    async def open(self) -> None:
        """Hire everybody; returns as soon as somebody is ready.

        Raises:
            CrewFailed: nobody can be had.
        """
        self._jobs = [asyncio.create_task(self._fill_place()) for _ in range(self._size)]
        while not self._somebody.is_set():
            try:
                await asyncio.wait_for(self._somebody.wait(), _PATIENCE)
            except TimeoutError:
                _log.warning("no %s is ready yet: they load, or there is no room for one", self._name)
        if self._failure is not None:
            raise self._failure

    async def do(self, task: T) -> R:
        """What a worker makes of `task`.

        Raises:
            WorkerDied: it was the end of `DEATHS` workers, the last of which did nothing else.
            CrewFailed: nobody is left.
            ModaVerseError: what the worker raised.
        """
        for deaths in range(DEATHS):
            member = await self._place(deaths)
            try:
                return await member.worker.work(task)
            except WorkerDied as death:
                _log.info("a %s died: %s", self._name, death)
                self._bury(member)
                if deaths == DEATHS - 1:
                    raise
            finally:
                member.tasks -= 1
                member.alone = False
                self._grant()
        raise AssertionError("the last try returns or raises")

    async def failed(self) -> ModaVerseError:
        """Wait until nobody is left, and say why."""
        await self._broken.wait()
        assert self._failure is not None
        return self._failure.error

    def close(self) -> None:
        """Let everybody go."""
        for job in self._jobs:
            job.cancel()
        for member in self._members:
            member.worker.dismiss()

    # --------------------------------------------------------------------------------------- places

    async def _place(self, deaths: int) -> _Member[T, R]:
        """A place for a task that `deaths` workers died of."""
        if self._failure is not None:
            raise self._failure
        place: asyncio.Future[_Member[T, R]] = asyncio.get_running_loop().create_future()
        if deaths == DEATHS - 1:
            self._suspects.append(place)
        elif deaths:
            self._waiting.appendleft(place)
        else:
            self._waiting.append(place)
        self._grant()
        return await place

    def _grant(self) -> None:
        """Give places to those who wait: first to suspects, then to who lost a worker, then to all others."""
        while self._suspects and (idle := self._least(1)) is not None:
            idle.alone = True
            self._give(self._suspects, idle)
        # While a suspect waits, whoever has least to do takes nothing on, so as to have nothing to do soon.
        resting = self._least(self._places) if self._suspects else None
        while self._waiting and (member := self._least(self._places, but=resting)) is not None:
            self._give(self._waiting, member)

    def _least(self, places: int, *, but: _Member[T, R] | None = None) -> _Member[T, R] | None:
        """Who has the fewest tasks, and fewer than `places`."""
        there = [each for each in self._members if not each.alone and each is not but and each.tasks < places]
        return min(there, key=lambda each: each.tasks, default=None)

    @staticmethod
    def _give(queue: deque[asyncio.Future[_Member[T, R]]], member: _Member[T, R]) -> None:
        place = queue.popleft()
        if not place.done():
            member.tasks += 1
            place.set_result(member)

    # -------------------------------------------------------------------------------------- workers

    async def _fill_place(self) -> None:
        """See to it that there is always a worker in one of the places of the crew."""
        starts = 0
        while starts < _STARTS:
            worker = self._hire()
            try:
                self._agree(await worker.open())
            except WorkerDied as death:
                worker.dismiss()
                starts += 1
                _log.warning("a %s died before it was ready: %s", self._name, death)
                continue
            except ModaVerseError as error:
                self._fail(error)
                return
            except Exception as error:
                cause = f"a {self._name} cannot be opened: {type(error).__name__}: {error}"
                self._fail(ModelError(cause, hint="Report it as a bug."))
                return
            starts = 0
            member = _Member(worker)
            self._members.append(member)
            self._somebody.set()
            self._grant()
            await member.gone.wait()
        self._given_up += 1
        if self._given_up == self._size:
            self._fail(
                ModelError(
                    f"no {self._name} lives long enough to be of use: {_STARTS} died while they loaded",
                    hint="Give each more memory, or look into Ray's logs for what ends them.",
                )
            )

    def _bury(self, member: _Member[T, R]) -> None:
        if member in self._members:
            self._members.remove(member)
            member.worker.dismiss()
            member.gone.set()

    def _fail(self, error: ModaVerseError) -> None:
        self._failure = self._failure or CrewFailed(error)
        self._somebody.set()
        self._broken.set()
        for job in self._jobs:
            if job is not asyncio.current_task():
                job.cancel()
        for place in (*self._waiting, *self._suspects):
            if not place.done():
                place.set_exception(self._failure)
        self._waiting.clear()
        self._suspects.clear()
