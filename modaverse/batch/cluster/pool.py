"""A pool of generators that are elsewhere, as an LLM worker has it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from types import MappingProxyType

from modaverse.batch.cluster.crew import CrewFailed
from modaverse.batch.cluster.parcels import Parcel, pack_call
from modaverse.context import Media
from modaverse.errors import ModaVerseError
from modaverse.generation import Call
from modaverse.interfaces import CallSpec, GenerationRequest

Make = Callable[[Parcel[GenerationRequest]], Awaitable[Parcel[Media]]]
"""Has a call made elsewhere. What it raises is why nothing was made."""


class RemotePool:
    """Implements `interfaces.Pool`. Calls come from any thread; the event loop `loop` sees to them.

    Where nobody is left who makes anything (`CrewFailed`), calls stay open: the whole job ends then, and a
    row must not count as failed for it.

    Args:
        catalogue: what may be called.
        folder: asked for where a medium that arrives is written.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        make: Make,
        catalogue: Iterable[CallSpec],
        folder: Callable[[], Path],
    ) -> None:
        self._loop = loop
        self._make = make
        self._catalogue = MappingProxyType({spec.model: spec for spec in catalogue})
        self._folder = folder
        self._under_way: set[Future[None]] = set()

    @property
    def catalogue(self) -> Mapping[str, CallSpec]:
        return self._catalogue

    def preload(self, model: str) -> None:
        """Nothing: a generator worker keeps what it has loaded, and others may ask it for something else."""

    def submit(self, request: GenerationRequest) -> Call:
        call = Call(request, wake=lambda: None)
        future = asyncio.run_coroutine_threadsafe(self._see_to(call), self._loop)
        self._under_way.add(future)
        future.add_done_callback(self._under_way.discard)
        return call

    async def _see_to(self, call: Call) -> None:
        try:
            parcel = await self._make(await asyncio.to_thread(pack_call, call.request))
            medium = await asyncio.to_thread(partial(parcel.put, parcel.value, self._folder()))
        except CrewFailed:
            return
        except ModaVerseError as error:
            call.finish(error=error)
        else:
            call.finish(media=medium)
