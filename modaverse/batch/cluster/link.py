"""Ray itself: its start, its actors, its errors. No other module imports it.

Actors are never restarted by Ray: a worker that died is replaced by its crew, which knows what it was doing.
"""

from __future__ import annotations

import gc
import logging
import math
import os
import re
import secrets
import sys
import warnings
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from modaverse.batch.cluster.crew import CrewFailed, WorkerDied
from modaverse.batch.cluster.parcels import Parcel
from modaverse.context import Media
from modaverse.errors import ModaVerseError, ModelError, SettingsError
from modaverse.interfaces import GenerationRequest

_MANY = 100_000  # calls that an actor takes at a time; who sends them sees to it that they are fewer
_SHOWN = 300  # characters of a cause, of which Ray writes many more

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Share:
    """What a worker takes of a machine, by Ray's books."""

    cpus: float
    gpus: float


def start(address: str | None, temporary: Path | None, *, cpus: float) -> Mapping[str, float]:
    """Connect to the cluster at `address`, or start one of this machine alone, with its files in
    `temporary`; what the cluster has (`CPU`, `GPU`). Processes of a cluster that is started here end with the
    thread that called this.

    Raises:
        SettingsError: Ray is not installed, or there is no such cluster.
    """
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ["RAY_DEDUP_LOGS_SKIP_REGEX"] = "."  # a page on stdout for each worker that died
    if address is None:
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))  # nobody else is to get in
    try:
        import ray
    except ImportError as error:
        raise SettingsError(
            "Ray is not installed", hint="Install it: pip install 'modaverse[ray]'."
        ) from error
    if address is not None and "://" in address:
        raise SettingsError(
            f"{address}: a job is not run through a Ray client",
            hint="Run it on a machine of the cluster, with --address auto, or HOST:PORT of its head.",
        )
    logging.getLogger("ray").setLevel(logging.ERROR)
    quiet: dict[str, Any] = {
        "log_to_driver": False,
        "configure_logging": False,
        "logging_level": logging.ERROR,
    }
    try:
        if address is not None:
            ray.init(address, **quiet)
        else:
            ray.init(
                "local",
                num_cpus=max(math.ceil(cpus), os.cpu_count() or 1),
                include_dashboard=False,
                _temp_dir=str(temporary),
                **quiet,
            )
    except Exception as error:
        place = address or "on this machine"
        raise SettingsError(
            f"no Ray cluster {place}: {_brief(error)}",
            hint="See whether `ray status` finds it, and whether Ray's and Python's versions are the same.",
        ) from error
    return dict(ray.cluster_resources())


def stop() -> None:
    """Let go of all actors, and end the cluster if it was started here."""
    ray = sys.modules.get("ray")
    if ray is None:
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # Ray does not wait for all processes that it ends
        ray.shutdown()
        gc.collect()


async def result_of(reference: Awaitable[Any]) -> Any:
    """What an actor's method returned.

    Raises:
        WorkerDied: its process is no more, or cannot be reached.
        ModaVerseError: it returned one.
        Exception: what the method raised.
    """
    from ray.exceptions import RayError, RayTaskError

    try:
        result = await reference
    except RayTaskError:
        raise
    except RayError as error:
        raise WorkerDied(_brief(error)) from error
    if isinstance(result, ModaVerseError):
        raise result
    return result


async def once(function: Callable[..., Any], *arguments: Any, share: Share) -> Any:
    """What `function` returns somewhere in the cluster.

    Raises:
        WorkerDied, ModaVerseError, Exception: as `result_of`.
    """
    import ray

    task = ray.remote(function).options(num_cpus=share.cpus, num_gpus=share.gpus, max_retries=2)
    return await result_of(task.remote(*arguments))


class RayWorker(Generic[T, R]):
    """A worker in an actor; implements `crew.Worker`. `pack` makes of a task what is sent."""

    def __init__(self, actor: Any, pack: Callable[[T], Awaitable[Any]] | None = None) -> None:
        self.actor = actor
        self._pack = pack

    async def open(self) -> Mapping[str, str]:
        facts: Mapping[str, str] = await result_of(self.actor.open.remote())
        return facts

    async def work(self, task: T) -> R:
        sent = task if self._pack is None else await self._pack(task)
        result: R = await result_of(self.actor.work.remote(sent))
        return result

    def dismiss(self) -> None:
        import ray

        ray.kill(self.actor)


@dataclass(frozen=True, slots=True)
class Post:
    """How a worker's actor is made: of which class, with which arguments, and what it takes. `here` keeps it
    on the machine of whoever makes it.
    """

    kind: type
    arguments: tuple[Any, ...]
    share: Share
    here: bool = False

    def hire(self, pack: Callable[[Any], Awaitable[Any]] | None = None) -> RayWorker[Any, Any]:
        """A new one, which may have to wait for room in the cluster."""
        import ray
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        node = ray.get_runtime_context().get_node_id()
        strategy = NodeAffinitySchedulingStrategy(node, soft=False) if self.here else "DEFAULT"
        actor = ray.remote(self.kind).options(
            num_cpus=self.share.cpus,
            num_gpus=self.share.gpus,
            max_concurrency=_MANY,
            max_restarts=0,
            scheduling_strategy=strategy,
        )
        return RayWorker(actor.remote(*self.arguments), pack)


@dataclass(frozen=True, slots=True)
class AtDesk:
    """Has calls made by a desk; a `pool.Make` that can be sent to LLM workers."""

    desk: Any

    async def __call__(self, parcel: Parcel[GenerationRequest]) -> Parcel[Media]:
        from ray.exceptions import RayTaskError

        try:
            made: Parcel[Media] = await result_of(self.desk.work.remote(parcel))
        except (WorkerDied, RayTaskError) as error:
            raise CrewFailed(ModelError(_brief(error), hint="See the message of the job itself.")) from error
        return made


def _brief(error: BaseException) -> str:
    """One line of the page that Ray writes: which process, and what became of it."""
    text = str(error)
    places = dict(re.findall(r"^\s*(pid|ip): (\S+)$", text, re.MULTILINE))
    lines = [line.strip() for line in text.splitlines()]
    lines = [line for line in lines if line and not re.fullmatch(r"\w+: \S+", line)]
    cause = " ".join(lines[-1:] or [type(error).__name__])
    cause = re.sub(
        r"^.*Worker exit detail: |(Some common|There are some potential root) causes.*$", "", cause
    )
    where = f"process {places['pid']} on {places['ip']}: " if places.keys() == {"pid", "ip"} else ""
    return f"{where}{cause[:_SHOWN].strip().rstrip('.')}"
