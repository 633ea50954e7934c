"""Workers that die, and what becomes of the work that they had."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

import pytest

from modaverse.batch.cluster.crew import DEATHS, Crew, CrewFailed, WorkerDied
from modaverse.errors import CheckpointError, GenerationError, ModelError


class Hand:
    """Does a task when its `gate` opens: "deadly" ones end it with all that it has."""

    def __init__(self, number: int, gate: asyncio.Event, *, facts: str = "", dead: bool = False) -> None:
        self.number = number
        self.had: list[str] = []
        self.beside: list[int] = []  # how many others it had when it took each of them
        self.dismissed = False
        self._gate = gate
        self._facts = facts
        self._death = asyncio.Event()
        self._dead = dead
        self._now = 0

    async def open(self) -> Mapping[str, str]:
        if self._dead:
            raise WorkerDied("born dead")
        return {"facts": self._facts}

    async def work(self, task: str) -> str:
        self.had.append(task)
        self.beside.append(self._now)
        self._now += 1
        try:
            return await self._done(task)
        finally:
            self._now -= 1

    async def _done(self, task: str) -> str:
        if "deadly" in task:
            await asyncio.sleep(0)
            self._death.set()
        ends = [asyncio.create_task(self._gate.wait()), asyncio.create_task(self._death.wait())]
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        for end in ends:
            end.cancel()
        if self._death.is_set():
            raise WorkerDied(f"hand {self.number} fell")
        if task == "wrong":
            raise GenerationError("no paint", hint="Buy some.")
        return f"{task} by {self.number}"

    def die(self) -> None:
        self._death.set()

    def dismiss(self) -> None:
        self.dismissed = True


class Yard:
    """A crew and everybody who was ever in it."""

    def __init__(self, size: int, places: int, *, facts: Callable[[int], str] = lambda number: "") -> None:
        self.gate = asyncio.Event()
        self.hands: list[Hand] = []
        self.born_dead: Callable[[int], bool] = lambda number: False
        self._facts = facts
        self.crew: Crew[str, str] = Crew("hand", self._hire, size=size, places=places, agree=self._agree)

    def _hire(self) -> Hand:
        number = len(self.hands)
        self.hands.append(Hand(number, self.gate, facts=self._facts(number), dead=self.born_dead(number)))
        return self.hands[-1]

    def _agree(self, facts: Mapping[str, str]) -> None:
        if facts["facts"] == "other":
            raise CheckpointError("other weights", hint="Give the same.")

    def begin(self, *tasks: str) -> list[asyncio.Task[str]]:
        return [asyncio.create_task(self.crew.do(task)) for task in tasks]


async def soon() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


def run(work: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(work, 20))


def test_tasks_go_to_who_has_least_and_wait_for_a_place() -> None:
    async def work() -> None:
        yard = Yard(2, 2)
        await yard.crew.open()
        tasks = yard.begin(*"abcde")
        await soon()
        assert sorted(len(hand.had) for hand in yard.hands) == [2, 2]
        yard.gate.set()
        done = await asyncio.gather(*tasks)
        assert [text[0] for text in done] == list("abcde")
        yard.crew.close()
        assert all(hand.dismissed for hand in yard.hands)

    run(work())


def test_what_a_dead_worker_had_is_done_by_another_and_it_is_replaced() -> None:
    async def work() -> None:
        yard = Yard(2, 4)
        await yard.crew.open()
        tasks = yard.begin(*"abcdefgh")
        await soon()
        yard.hands[0].die()
        await soon()
        assert yard.hands[0].dismissed
        assert len(yard.hands) == 3
        assert sorted(yard.hands[2].had) == sorted(yard.hands[0].had)
        yard.gate.set()
        assert [text[0] for text in await asyncio.gather(*tasks)] == list("abcdefgh")

    run(work())


def test_what_kills_every_worker_is_named_and_nothing_else_is() -> None:
    async def work() -> None:
        yard = Yard(2, 4)
        await yard.crew.open()
        tasks = yard.begin("a", "b", "deadly", "c", "d", "e")
        await soon()
        yard.gate.set()
        done = await asyncio.gather(*tasks, return_exceptions=True)
        assert isinstance(done.pop(2), WorkerDied)
        assert [str(text)[0] for text in done] == list("abcde")
        killed = [hand for hand in yard.hands if "deadly" in hand.had]
        assert len(killed) == DEATHS
        assert [(hand.had[-1], hand.beside[-1]) for hand in killed].count(("deadly", 0)) == 1
        assert len(yard.hands) == 2 + DEATHS

    run(work())


def test_the_last_try_is_alone_also_where_there_is_always_more_to_do() -> None:
    async def work() -> None:
        yard = Yard(1, 3)
        await yard.crew.open()
        tasks = yard.begin("a", "deadly", *(f"{number}" for number in range(12)))
        await soon()
        assert len(yard.hands) == 3
        yard.gate.set()
        done = await asyncio.gather(*tasks, return_exceptions=True)
        assert [isinstance(end, WorkerDied) for end in done] == [False, True] + [False] * 12
        last = [hand for hand in yard.hands if "deadly" in hand.had][-1]
        assert (last.had[-1], last.beside[-1]) == ("deadly", 0)
        assert last.number == 2

    run(work())


def test_an_error_of_a_task_is_its_own() -> None:
    async def work() -> None:
        yard = Yard(1, 1)
        await yard.crew.open()
        yard.gate.set()
        with pytest.raises(GenerationError, match="no paint"):
            await yard.crew.do("wrong")
        assert await yard.crew.do("a") == "a by 0"

    run(work())


def test_a_worker_with_other_results_ends_the_crew() -> None:
    async def work() -> None:
        yard = Yard(1, 2, facts=lambda number: "other" if number == 1 else "")
        await yard.crew.open()
        watching = asyncio.create_task(yard.crew.failed())
        tasks = yard.begin("a", "b", "c")
        await soon()
        yard.hands[0].die()
        done = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(isinstance(end, CrewFailed) for end in done)
        assert isinstance(await watching, CheckpointError)

    run(work())


def test_workers_that_cannot_begin_end_the_crew_unless_others_can() -> None:
    async def work() -> None:
        yard = Yard(2, 1)
        yard.born_dead = lambda number: True
        with pytest.raises(CrewFailed) as failed:
            await yard.crew.open()
        assert isinstance(failed.value.error, ModelError)
        assert "while they loaded" in failed.value.error.message
        assert all(hand.dismissed for hand in yard.hands)
        yard = Yard(2, 1)
        yard.born_dead = lambda number: number != 1
        await yard.crew.open()
        yard.gate.set()
        assert await yard.crew.do("a") == "a by 1"

    run(work())
