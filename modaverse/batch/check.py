"""Reading all rows before any model is loaded: which are wrong, which were answered, which are to do."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from modaverse.batch.index import Index
from modaverse.batch.jobs import parse_job, read_lines
from modaverse.batch.references import References
from modaverse.batch.values import Form, Job
from modaverse.errors import DataError, InputError

Fault = Callable[[int, str | None, InputError, Form], None]
"""Told of a line that is no row to answer: its number, its id where it has one, what is wrong, its form."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What is in a file of jobs. `to_do` has a byte for each line: 1 where its row is to be answered, `left`
    of them in all.
    """

    jobs: Path
    rows: int
    answered: int
    faults: int
    left: int
    to_do: bytes

    def rows_to_do(self) -> Iterator[Job]:
        """The rows that are to be answered, read again from the file, in its order.

        Raises:
            DataError: the file can no longer be read, or was changed meanwhile.
        """
        for number, line in read_lines(self.jobs):
            if number <= len(self.to_do) and self.to_do[number - 1]:
                yield parse_job(line, number, self.jobs.name)


def check(
    jobs: Path,
    index: Index,
    references: References,
    fault: Fault,
    *,
    mixed: bool = False,
    stop: Callable[[], bool] = lambda: False,
) -> Plan:
    """Read all rows of `jobs`, compare them with the `index` of what was answered, and enter them there.

    Raises:
        DataError: the file cannot be read; or rows were changed since they were answered, and `mixed` does
            not allow that.
        KeyboardInterrupt: `stop` says so.
    """
    rows = answered = faults = changed = 0
    to_do = bytearray()
    first: Job | None = None
    for number, line in read_lines(jobs):
        if stop():
            raise KeyboardInterrupt
        rows += 1
        to_do.extend(bytes(number - len(to_do)))
        job: Job | None = None
        try:
            job = parse_job(line, number, jobs.name)
            known = index.find(job.id)
            if known is not None and known.line is not None:
                raise DataError(
                    f"{jobs.name}:{number}: the id {job.id!r} stands in line {known.line} already",
                    hint="Give each row an id of its own.",
                )
            index.add_line(job.id, number)
            if known is not None and known.digest is not None:
                answered += 1
                if known.digest != job.digest:
                    changed += 1
                    first = first or job
                continue
            _check_media(job, references, f"{jobs.name}:{number}")
        except InputError as error:
            faults += 1
            form = job.form if job else _form(line)
            fault(number, job.id if job else None, error, form)
            continue
        to_do[number - 1] = 1
    if first is not None and not mixed:
        raise DataError(
            f"{changed:,} rows were changed since they were answered, the first in line "
            f"{first.line} (id {first.id!r})",
            hint="Give them new ids, begin anew with --fresh, or keep their answers with --allow-mixed.",
        )
    return Plan(jobs, rows, answered, faults, to_do.count(1), bytes(to_do))


def _check_media(job: Job, references: References, where: str) -> None:
    for ref in job.media:
        try:
            references.check(ref)
        except InputError as error:
            raise type(error)(f"{where}: {error.message}", hint=error.hint) from error


def _form(line: bytes | None) -> Form:
    """In which form a line was probably meant that cannot be read."""
    return Form.OPENAI if line is not None and b'"custom_id"' in line else Form.OWN
