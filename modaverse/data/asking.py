"""Rows that an endpoint writes: it is told the captions of a medium, and replies with one exchange.

What it replies is text from outside: it is checked for its form, and stands in rows as text that never
becomes a control token. Rows come in the order of the media, whatever the order of the replies.
"""

from __future__ import annotations

import json
import random
import tomllib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from modaverse.context import Modality
from modaverse.data.building import Kind, Recipe, Specimen, made, row_of, specimens
from modaverse.data.captions import Captioned
from modaverse.data.chat_endpoint import ChatClient, Message
from modaverse.data.wordings import default_folder
from modaverse.errors import DataError, InputError
from modaverse.media.files import shown
from modaverse.training.rows import Row, RowPart, TextPart

_NAMES = {Modality.IMAGE: "picture", Modality.VIDEO: "clip", Modality.AUDIO: "sound"}
_FORMS = 3
"""How often a reply of the wrong form is asked for anew."""

Report = Callable[[int], None]
"""Told how many rows are done."""


@dataclass(frozen=True, slots=True)
class Prompts:
    """What the endpoint is asked."""

    system: str
    tasks: Mapping[Kind, str]

    @classmethod
    def load(cls, folder: Path | None = None) -> Prompts:
        """The prompts of `endpoint.toml` in a folder of wordings.

        Raises:
            DataError: it cannot be read, or lacks one.
        """
        path = (folder or default_folder()) / "endpoint.toml"
        try:
            values = tomllib.loads(path.read_text(encoding="utf-8"))
            prompts = cls(values["system"].strip(), {kind: values[kind]["task"].strip() for kind in Kind})
            for task in (prompts.system, *prompts.tasks.values()):
                task.format(kind="", captions="", other="")
            return prompts
        except (OSError, ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
            raise DataError(
                f"{shown(path)} holds no usable prompts: {error}",
                hint="Compare it with the one that comes with ModaVerse.",
            ) from error

    def messages(self, kind: Kind, specimen: Specimen, other: Modality) -> list[Message]:
        task = self.tasks[kind].format(
            kind=_NAMES[specimen.modality], captions="\n".join(specimen.captions), other=_NAMES[other]
        )
        return [{"role": "system", "content": self.system.format()}, {"role": "user", "content": task}]


def ask_for_rows(
    items: Iterable[Captioned | InputError],
    folder: Path,
    client: ChatClient,
    prompts: Prompts,
    recipe: Recipe,
    *,
    concurrency: int = 4,
    report: Report = lambda done: None,
) -> Iterator[Row | InputError]:
    """Rows of all media, and what could not be used; at most `concurrency` requests are under way.

    Raises:
        GenerationError: the endpoint refused, or did not answer; the replies so far are kept in the cache.
    """
    done = 0
    ahead: deque[Future[Row | InputError]] = deque()
    pool = ThreadPoolExecutor(concurrency, thread_name_prefix="modaverse-ask")
    try:
        for work in _work(items, folder, client, prompts, recipe):
            if isinstance(work, InputError):
                yield work
                continue
            ahead.append(pool.submit(work))
            while len(ahead) >= 2 * concurrency:
                yield ahead.popleft().result()
                done += 1
                report(done)
        while ahead:
            yield ahead.popleft().result()
            done += 1
            report(done)
    finally:
        client.close()
        pool.shutdown(wait=True, cancel_futures=True)


def _work(
    items: Iterable[Captioned | InputError],
    folder: Path,
    client: ChatClient,
    prompts: Prompts,
    recipe: Recipe,
) -> Iterator[Callable[[], Row | InputError] | InputError]:
    for specimen in specimens(items, folder):
        if isinstance(specimen, InputError):
            yield specimen
            continue
        for kind in recipe.kinds:
            for number in range(recipe.per_medium):
                yield _Request(
                    client, prompts, kind, specimen, f"{recipe.seed}:{kind}:{specimen.uri}:{number}"
                )


@dataclass(frozen=True, slots=True)
class _Request:
    client: ChatClient
    prompts: Prompts
    kind: Kind
    specimen: Specimen
    seed: str

    def __call__(self) -> Row | InputError:
        """The row, or why there is none: the last reply was still not of the form that was asked for."""
        rng = random.Random(self.seed)
        other = rng.choice([modality for modality in Modality if modality is not self.specimen.modality])
        messages = self.prompts.messages(self.kind, self.specimen, other)
        fault = DataError("nothing was asked")
        for _ in range(_FORMS):
            reply = self.client.ask(messages, seed=rng.randrange(2**31))
            try:
                return _row(reply.text, self.kind, self.specimen, other, rng)
            except DataError as error:
                fault = error
        return DataError(
            f"{self.specimen.where}: {self.kind}: {fault.message}", hint="Try another model or seed."
        )


def _row(text: str, kind: Kind, specimen: Specimen, other: Modality, rng: random.Random) -> Row:
    """
    Raises:
        DataError: the reply is not of the form that was asked for.
    """
    value = _object_in(text)
    request, answer = (_text(value, name) for name in ("request", "answer"))
    prompt = value.get("prompt")
    if not request or not answer:
        raise DataError("a reply without request or answer")
    if (kind is Kind.INPUT) != (prompt is None):
        raise DataError(f"a reply {'with' if kind is Kind.INPUT else 'without'} a prompt")
    if kind is Kind.OUTPUT:
        said = made(answer, specimen.modality, _needed(prompt), specimen.part, _text(value, "after"))
        return row_of(kind, [TextPart(request)], said)
    asked: list[RowPart] = [specimen.part, TextPart(request)]
    if rng.random() < 0.5:
        asked.reverse()
    if kind is Kind.INPUT:
        return row_of(kind, asked, [TextPart(answer)])
    return row_of(kind, asked, made(answer, other, _needed(prompt)))


def _object_in(text: str) -> Mapping[str, object]:
    """The JSON object of a reply, which may stand in a code block or among other words."""
    start, end = text.find("{"), text.rfind("}")
    try:
        value = json.loads(text[start : end + 1]) if 0 <= start < end else None
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise DataError("a reply that is no JSON object")
    return value


def _text(value: Mapping[str, object], name: str) -> str:
    text = value.get(name)
    if text is None:
        return ""
    if not isinstance(text, str) or not _is_unicode(text):
        raise DataError(f"a reply of which {name} is no text")
    return text.strip()


def _needed(prompt: object) -> str:
    text = " ".join(_text({"prompt": prompt}, "prompt").split())
    if not text:
        raise DataError("a reply with an empty prompt")
    return text


def _is_unicode(text: str) -> bool:
    """Escapes in JSON may spell half a character."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
