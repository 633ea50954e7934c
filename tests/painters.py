"""Generators on scripts, for the tests of the pool: they wait for events instead of sleeping."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import numpy as np

from modaverse.context import Modality
from modaverse.errors import GenerationCancelled, GenerationError, GenerationOutOfMemory
from modaverse.interfaces import CallSpec, Cancelled, Decoded, GenerationRequest, Pixels, Progress

PATIENCE = 10.0


class Scripted:
    """Fills a picture with the request's seed. Waits for `gate` first, and tells that it `started`."""

    def __init__(self, model: str = "T-to-I", *, gate: bool = False, memory: int = 0, concurrency: int = 99):
        self._spec = CallSpec(model, Modality.IMAGE)
        self.memory_bytes = memory
        self.concurrency = concurrency
        self.fingerprint: str | None = None
        self.started = threading.Semaphore(0)
        self.gate = threading.Event()
        if not gate:
            self.gate.set()
        self.heeds_cancelling = True
        self.log: list[str] = []
        self.failures: list[BaseException] = []
        self.loaded = False
        self.memory_error_above: int | None = None  # of how many requests at once
        self.bad_prompt: str | None = None

    @property
    def spec(self) -> CallSpec:
        return self._spec

    def load(self) -> None:
        if not self.loaded:
            self.log.append("load")
        self.loaded = True

    def unload(self) -> None:
        self.log.append("unload")
        self.loaded = False

    def batch_key(self, request: GenerationRequest) -> str | None:
        return None if request.source else str(sorted(request.options.items()))

    def generate_together(
        self, requests: Sequence[GenerationRequest], *, progress: Progress, cancelled: Cancelled
    ) -> list[Decoded]:
        self.log.append("+".join(request.prompt for request in requests))
        self.started.release()
        if self.memory_error_above is not None and len(requests) > self.memory_error_above:
            raise GenerationOutOfMemory("too little")
        if any(request.prompt == self.bad_prompt for request in requests):
            raise GenerationError("no such colour")
        progress(1, 1)
        return [picture(request.seed) for request in requests]

    def generate(self, request: GenerationRequest, *, progress: Progress, cancelled: Cancelled) -> Decoded:
        assert self.loaded
        self.log.append(request.prompt)
        self.started.release()
        if self.failures:
            raise self.failures.pop(0)
        for step in range(1, 4):
            while not self.gate.wait(0.01):
                if self.heeds_cancelling and cancelled():
                    self.log.append("stopped")
                    raise GenerationCancelled("stopped")
            progress(step, 3)
        if request.prompt == self.bad_prompt:
            raise GenerationError("no such colour")
        return picture(request.seed)

    def wait_started(self, count: int = 1) -> None:
        for _ in range(count):
            assert self.started.acquire(timeout=PATIENCE)


def picture(seed: int) -> Pixels:
    return Pixels(np.full((4, 4, 3), seed, dtype=np.uint8))


class Parking(Scripted):
    """One that can be set aside in the machine's own memory."""

    def park(self) -> None:
        self.log.append("park")
        self.loaded = False


def ask(prompt: str = "a cat", *, model: str = "T-to-I", seed: int = 1) -> GenerationRequest:
    return GenerationRequest(model, prompt, seed)
