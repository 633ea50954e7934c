"""How fast a batch runs on a cluster, from the times of its stages: a simulation of rows, workers and queues.

    python benchmarks/scale_model.py stages.json [--workers 2 8 100] [--requests 1000000] [--tokens 60]
        [--call T-to-I=0.8] [--media 0.5] [--simulated 20000] [--seed 0] [--out FILE]

`stages.json` is what `stage_times.py` wrote on one worker of the kind that the cluster has. What rows are
like is said here: the tokens that the LLM writes, the calls of each kind and the given media of a row, on
average.

    driver ─► an LLM worker: `rows` at a time, a step of all that write takes `step[how many]`
                 │ call       ▲ medium: the step waits for its embedding
                 ▼            │
              generator workers: a run takes what waits, up to as many calls as were measured

Workers are shared out between LLM and generators so that both are busy alike, and the share is shown. Rows
come as the driver opens them, one after the other; a call goes to whoever is free. The network is not in the
model, and nobody dies. The time for all requests is their number over the rate in the middle of the simulated
ones.
"""

from __future__ import annotations

import argparse
import heapq
import itertools
import json
import math
import random
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import report

Times = Mapping[int, float]
"""Seconds, by how many share them."""


@dataclass(frozen=True)
class Stages:
    """Seconds that were measured on one worker.

    `step` is one decoding step, reading the requests included; `generate` a run of each kind of call;
    `encode` one medium in the encoder; `look` one given medium on the driver, decoded there once; `row` all
    else that the driver does for a row.
    """

    step: Times
    generate: Mapping[str, Times]
    encode: float
    look: float
    row: float
    machine: str = ""

    @staticmethod
    def read(path: Path) -> Stages:
        values = json.loads(path.read_text(encoding="utf-8"))
        return Stages(
            step=_times(values["step"]),
            generate={model: _times(times) for model, times in values["generate"].items()},
            encode=values["encode"],
            look=values["look"],
            row=values["row"],
            machine=values.get("machine", ""),
        )


def _times(values: Mapping[str, float]) -> Times:
    return {int(count): seconds for count, seconds in sorted(values.items(), key=lambda item: int(item[0]))}


def seconds_for(times: Times, count: int) -> float:
    """Between two counts that were measured, in proportion; beyond them, nothing was measured.

    Raises:
        ValueError: the count is larger than all that were measured.
    """
    counts = list(times)
    above = next((each for each in counts if each >= count), None)
    if above is None:
        raise ValueError(f"{count} at a time were not measured, {counts[-1]} at most")
    below = max((each for each in counts if each <= count), default=above)
    if above == below:
        return times[above]
    share = (count - below) / (above - below)
    return times[below] + share * (times[above] - times[below])


@dataclass(frozen=True)
class Work:
    """What rows are like, on average."""

    tokens: int = 60
    calls: Mapping[str, float] = field(default_factory=dict)
    media: float = 0.0


@dataclass(frozen=True)
class Cluster:
    """Workers of each kind."""

    llm: int
    generators: int


def demands(stages: Stages, work: Work) -> tuple[float, float, float]:
    """Seconds that a row takes of a full LLM worker, of a generator worker with full runs, of the driver."""
    rows = max(stages.step)
    llm = work.tokens * stages.step[rows] / rows + (sum(work.calls.values()) + work.media) * stages.encode
    made = 0.0
    for model, calls in work.calls.items():
        times = stages.generate[model]
        made += calls * min(seconds / count for count, seconds in times.items())
    return llm, made, work.media * stages.look + stages.row


def shared_out(workers: int, stages: Stages, work: Work) -> Cluster:
    """The share of `workers` with which LLM and generators are busy alike."""
    llm, made, _ = demands(stages, work)
    if not made:
        return Cluster(workers, 0)
    best = min(range(1, workers), key=lambda count: max(llm / count, made / (workers - count)))
    return Cluster(best, workers - best)


# ------------------------------------------------------------------------------------ the simulation


@dataclass(eq=False)
class _Row:
    """`left` are the segments still to write, as tokens, with the call behind each but the last."""

    left: deque[int]
    calls: deque[str]
    media: int


class _Writer:
    """An LLM worker. A step makes a token for every row that writes, so that all advance alike: one count of
    tokens, `_written`, serves all, and a row is done when it has grown by what the row has to write.
    """

    def __init__(self, stages: Stages) -> None:
        self._stages = stages
        self._written = 0.0
        self._now = 0.0
        self._stopped_until = 0.0
        self._writing: list[tuple[float, int, _Row]] = []
        self._numbers = itertools.count()
        self.held = 0
        self.version = 0

    def begin(self, now: float, row: _Row, embeddings: int) -> None:
        """Let a row write its next segment, once `embeddings` media of it are encoded."""
        self._advance(now)
        if embeddings:
            self._stopped_until = max(self._stopped_until, now) + embeddings * self._stages.encode
        heapq.heappush(self._writing, (self._written + row.left.popleft(), next(self._numbers), row))
        self.version += 1

    def next_end(self) -> float | None:
        """When the first of the rows that write will be at the end of its segment."""
        if not self._writing:
            return None
        tokens = max(0.0, self._writing[0][0] - self._written)
        return max(self._now, self._stopped_until) + tokens * self._step()

    def end(self, now: float) -> _Row:
        self._advance(now)
        self.version += 1
        return heapq.heappop(self._writing)[2]

    def _step(self) -> float:
        return seconds_for(self._stages.step, len(self._writing))

    def _advance(self, now: float) -> None:
        spent = now - max(self._now, self._stopped_until)
        if self._writing and spent > 0:
            self._written += spent / self._step()
        self._now = now


@dataclass(frozen=True)
class Found:
    """`rate` is in rows per second; the others say how much of what each could do, when full, that takes. An
    LLM worker of whose rows many wait is at work all the time, and makes fewer tokens.
    """

    rate: float
    llm: float
    generators: float
    driver: float

    @property
    def bottleneck(self) -> str:
        loads = {"LLM": self.llm, "generators": self.generators, "driver": self.driver}
        return max(loads, key=lambda name: loads[name])


class Simulation:
    """One job, as a list of what happens when."""

    def __init__(self, stages: Stages, work: Work, cluster: Cluster, *, rows: int, seed: int) -> None:
        self._stages, self._work, self._rows = stages, work, rows
        self._random = random.Random(seed)
        self._places = max(stages.step)
        self._writers = [_Writer(stages) for _ in range(cluster.llm)]
        self._cluster, self._idle = cluster, cluster.generators
        self._calls: dict[str, deque[tuple[_Writer, _Row]]] = {model: deque() for model in work.calls}
        self._ready: deque[_Row] = deque()
        self._to_open = rows
        self._opening = False
        self._finished: list[float] = []
        self._events: list[tuple[float, int, Callable[[float], None]]] = []
        self._numbers = itertools.count()

    def run(self) -> Found:
        now = 0.0
        self._open(now)
        while self._events:
            now, _, happens = heapq.heappop(self._events)
            happens(now)
        first, last = self._rows // 4, 3 * self._rows // 4
        rate = (last - first) / (self._finished[last] - self._finished[first])
        llm, made, driver = demands(self._stages, self._work)
        made = made / self._cluster.generators if made else 0.0
        return Found(rate, rate * llm / self._cluster.llm, rate * made, rate * driver)

    def _at(self, time: float, happens: Callable[[float], None]) -> None:
        heapq.heappush(self._events, (time, next(self._numbers), happens))

    def _open(self, now: float) -> None:
        """The driver opens one row after the other, as long as somebody will take it soon."""
        ahead = self._places * len(self._writers)
        if self._opening or not self._to_open or len(self._ready) >= ahead:
            return
        self._opening = True
        self._to_open -= 1
        row = self._row()
        seconds = row.media * self._stages.look + self._stages.row
        self._at(now + seconds, lambda now: self._hand_in(now, row))

    def _row(self) -> _Row:
        calls = [model for model, average in self._work.calls.items() for _ in range(self._count(average))]
        self._random.shuffle(calls)
        pieces = len(calls) + 1
        tokens = [max(1, round(self._work.tokens / pieces))] * pieces
        return _Row(deque(tokens), deque(calls), self._count(self._work.media))

    def _count(self, average: float) -> int:
        whole = math.floor(average)
        return whole + (self._random.random() < average - whole)

    def _hand_in(self, now: float, row: _Row) -> None:
        self._opening = False
        self._ready.append(row)
        self._take(now)
        self._open(now)

    def _take(self, now: float) -> None:
        """Whoever has the fewest rows takes the next one."""
        while self._ready:
            writer = min(self._writers, key=lambda each: each.held)
            if writer.held == self._places:
                return
            row = self._ready.popleft()
            writer.held += 1
            self._write(now, writer, row, row.media)

    def _write(self, now: float, writer: _Writer, row: _Row, embeddings: int) -> None:
        writer.begin(now, row, embeddings)
        self._look_at(writer)

    def _look_at(self, writer: _Writer) -> None:
        version, end = writer.version, writer.next_end()
        if end is not None:
            self._at(end, lambda now: self._pause(now, writer) if writer.version == version else None)

    def _pause(self, now: float, writer: _Writer) -> None:
        """The row that is furthest comes to a call, or to its end."""
        row = writer.end(now)
        if row.calls:
            self._calls[row.calls.popleft()].append((writer, row))
            self._generate(now)
        else:
            writer.held -= 1
            self._finished.append(now)
            self._take(now)
            self._open(now)
        self._look_at(writer)

    def _generate(self, now: float) -> None:
        """Who is free takes the longest queue, and as much of it as can share a run."""
        while self._idle and any(self._calls.values()):
            model = max(self._calls, key=lambda each: len(self._calls[each]))
            times = self._stages.generate[model]
            queue = self._calls[model]
            run = [queue.popleft() for _ in range(min(len(queue), max(times)))]
            seconds = seconds_for(times, len(run))
            self._idle -= 1
            self._at(now + seconds, partial(self._deliver, run))

    def _deliver(self, run: Sequence[tuple[_Writer, _Row]], now: float) -> None:
        self._idle += 1
        for writer, row in run:
            self._write(now, writer, row, 1)
        self._generate(now)


def line(workers: int, stages: Stages, work: Work, requests: int, *, rows: int, seed: int) -> list[str]:
    """What a cluster of so many workers does, as a line of the table."""
    cluster = shared_out(workers, stages, work)
    found = Simulation(stages, work, cluster, rows=rows, seed=seed).run()
    return [
        f"{workers}",
        f"{cluster.llm} + {cluster.generators}",
        f"{found.rate:.3g}",
        f"{requests / found.rate / 3600:,.1f}",
        *(f"{share:.0%}" for share in (found.llm, found.generators, found.driver)),
        found.bottleneck,
    ]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("stages", type=Path)
    parser.add_argument("--workers", type=int, nargs="+", default=[2, 8, 100])
    parser.add_argument("--requests", type=int, default=1_000_000)
    parser.add_argument("--tokens", type=int, default=60)
    parser.add_argument("--call", action="append", default=[], metavar="MODEL=AVERAGE")
    parser.add_argument("--media", type=float, default=0.5)
    parser.add_argument("--simulated", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    stages = Stages.read(options.stages)
    given = (call.partition("=") for call in options.call or ["T-to-I=0.8"])
    work = Work(options.tokens, {model: float(average) for model, _, average in given}, options.media)
    llm, made, driver = demands(stages, work)
    header = ("workers", "LLM + generators", "rows/s", f"hours for {options.requests:,}")
    text = report.table(
        (*header, "load of the LLM", "of generators", "of the driver", "bottleneck"),
        [
            line(workers, stages, work, options.requests, rows=options.simulated, seed=options.seed)
            for workers in options.workers
        ],
    )
    said = (
        f"A row: {work.tokens} tokens, {work.media:g} given media, calls {dict(work.calls)}. It takes "
        f"{llm:.3g} s of an LLM worker with {max(stages.step)} rows, {made:.3g} s of a generator worker with "
        f"full runs, and {driver:.3g} s of the driver, which alone allows {1 / driver:.3g} rows/s."
    )
    parts = [f"Stage times: {stages.machine}", said, text]
    if options.out:
        report.write(options.out, "A batch on a cluster, simulated", [__doc__ or "", *parts])
    else:
        print("\n\n".join(parts))


if __name__ == "__main__":
    main()
