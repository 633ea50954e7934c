"""What goes wrong with a call, in words."""

from __future__ import annotations

from modaverse.errors import GenerationError, GenerationOutOfMemory, GenerationTimeout
from modaverse.generation.pending import Job


def late(job: Job, seconds: float | None) -> GenerationTimeout:
    return GenerationTimeout(
        f"{job.model} did not finish within {seconds:g} s",
        hint="Ask for fewer steps or a smaller size, or give the pool a longer deadline.",
    )


def too_large(job: Job, budget: int | None) -> GenerationOutOfMemory:
    needed, given = job.resident.memory_bytes / 1e9, (budget or 0) / 1e9
    return GenerationOutOfMemory(
        f"{job.model} needs {needed:.1f} GB, and the memory budget is {given:.1f} GB",
        hint="Raise memory_budget, or choose a smaller generator or precision.",
    )


def unexpected(job: Job, error: BaseException | None) -> GenerationError:
    return GenerationError(
        f"{job.model} failed: {type(error).__name__}: {error}", hint="Report this to the generator's author."
    )
