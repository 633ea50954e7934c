"""Rows of Toybox: conversations with media, calls and what they made, and the truth about all of it."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from modaverse.toybox.rows import given, making, talk
from modaverse.toybox.rows.chat import Chat
from modaverse.toybox.rows.followups import FOLLOWUPS, Followups, nothing_yet
from modaverse.toybox.wordings.grammar import Split
from modaverse.training.layout import Layout
from modaverse.training.rows import Row, write_jsonl

Start = Callable[[Chat], None]

INTENTS: Mapping[str, Start] = {
    "make": making.make_one,
    "tell": making.make_and_tell,
    "chain": making.make_two_of_one,
    "many": making.make_many,
    "copies": making.make_copies,
    "change": making.make_and_change,
    "from": given.make_from,
    "ask": given.ask_about,
    "count": given.count_media,
    "which": given.which_of_two,
    "same": given.same_or_not,
    "compare": given.compare_two,
    "social": talk.social,
    "mini": talk.about_mini,
    "outside": talk.outside,
    "nothing": nothing_yet,
}
"""How a conversation, or a new thread of one, can begin."""

MIXTURE: Mapping[str, float] = {
    "make": 26,
    "tell": 8,
    "chain": 4,
    "many": 8,
    "copies": 1.5,
    "change": 2,
    "from": 16,
    "ask": 14,
    "count": 1,
    "which": 2.5,
    "same": 2,
    "compare": 1.5,
    "social": 2.5,
    "mini": 2.5,
    "outside": 11,
    "nothing": 0.5,
}
"""Weights of `INTENTS` in the training of mini."""

DEFERRED = 0.3
"""Share of the rows, of those that are given a layout, in which the LLM writes on while media are made."""

AFTER = 8
"""Tokens that mini writes on then: a sentence or two, as its answers are short. Its profile says the same."""

FAILING = 0.02
"""How often a call of the training of mini makes nothing."""

EDITING = True
"""Whether mini learns, and is measured on, changes that name their source (see `chat.EDITORS`)."""

TURNS = (0.62, 0.2, 0.11, 0.07)
"""How often a row has 1, 2, 3 or 4 exchanges."""


def sample_row(
    rng: random.Random,
    *,
    split: Split = "train",
    mixture: Mapping[str, float] = MIXTURE,
    turns: tuple[float, ...] = TURNS,
    missed: float | None = None,
    failing: float = 0.0,
    layout: Layout | None = None,
    editing: bool = False,
    followups: Followups = FOLLOWUPS,
) -> Row:
    """One conversation.

    In the split "held_out" every request has a held-out structure, half of the scenes are held-out
    combinations, and generators make what they were asked for; in "train" neither ever occurs, and with the
    probability `missed` (default 0.2) a generator makes something else, and with `failing` nothing. With a
    `layout` media come where decoding splices them while the LLM writes on, and without one directly behind
    their calls. `editing` writes changes as edits with a `Source` (see `EDITORS`), not as fresh calls.
    `followups` are what may come next, with weights.
    """
    if missed is None:
        missed = 0.2 if split == "train" else 0.0
    chat = Chat(rng, split, missed=missed, failing=failing, layout=layout, editing=editing)
    names, weights = tuple(mixture), tuple(mixture.values())
    count = rng.choices(range(1, len(turns) + 1), turns)[0]
    INTENTS[rng.choices(names, weights)[0]](chat)
    while len(chat.truths) < count:
        if chat.last is None or not rng.random() < 0.8 or not _follow(chat, followups):
            INTENTS[rng.choices(names, weights)[0]](chat)
    return chat.row()


def _follow(chat: Chat, followups: Followups) -> bool:
    """One follow-up to the last medium, if one applies."""
    last = chat.last
    if last is None:
        return False
    steps, weights = zip(*followups, strict=True)
    return any(chat.rng.choices(steps, weights)[0](chat, last) for _ in range(8))


def sample_rows(
    count: int,
    seed: int,
    split: Split = "train",
    *,
    layout: Layout | None = None,
    failing: float | None = None,
) -> Iterator[Row]:
    """`count` rows, the same for the same arguments; row `i` depends on `seed` and `i` alone.

    With a `layout` the share `DEFERRED` of them has it. `failing` is `FAILING` in the split "train", else 0.
    """
    if failing is None:
        failing = FAILING if split == "train" else 0.0
    for index in range(count):
        rng = random.Random(f"{split}:{seed}:{index}")
        deferred = layout is not None and rng.random() < DEFERRED
        yield sample_row(
            rng, split=split, failing=failing, layout=layout if deferred else None, editing=EDITING
        )


def write_rows(
    path: Path, count: int, seed: int, split: Split = "train", *, layout: Layout | None = None
) -> int:
    """Write what `sample_rows` gives to `path` (see `modaverse.training.rows`); returns how many.

    Raises:
        StorageError: the file cannot be written.
    """
    return write_jsonl(path, sample_rows(count, seed, split, layout=layout))
