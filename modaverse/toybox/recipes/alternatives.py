"""What may stand as a wrong answer: only what training has.

Some combinations are held out, so that a net never sees a white rocket. If "rocket" is a wrong answer to
every white picture and a right one to none, the net learns from it that what is white is no rocket, although
nothing has shown it so. Here such an answer is neither right nor wrong: it is left out of the softmax, which
then says nothing of combinations that training lacks. It is the correction of a class prior (logit
adjustment, arXiv 2007.07314) in the limit of a prior of zero.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from modaverse.toybox.recipes.renders import AnyScene, Truth, Unknown
from modaverse.toybox.wordings.wishes import VALUES, Wish
from modaverse.toybox.world import THINGS, is_held_out


def lacking_answers(question: str, answers: Sequence[str], truths: Sequence[Truth]) -> Tensor:
    """(b, answers) bool: those which, all else equal, would make a truth one that training lacks."""
    return torch.tensor([[_lacking(_shown(t), ((question, a),)) for a in answers] for t in truths])


def lacking_pairs(truths: Sequence[Truth], wishes: Sequence[Wish | None]) -> Tensor:
    """(media, captions) bool: where a caption, or any one word of it, would make a medium so."""
    said = [() if wish is None else tuple(wish.attributes.items()) for wish in wishes]
    return torch.tensor([[_lacks_any(_shown(t), some) for some in said] for t in truths])


def _shown(truth: Truth) -> AnyScene | None:
    """What can be seen or heard; of a spoilt one, what it was."""
    return truth.spoilt if isinstance(truth, Unknown) else truth


@lru_cache(maxsize=1 << 16)
def _lacks_any(scene: AnyScene | None, said: tuple[tuple[str, str], ...]) -> bool:
    return _lacking(scene, said) or any(_lacking(scene, (one,)) for one in said)


@lru_cache(maxsize=1 << 16)
def _lacking(scene: AnyScene | None, changes: tuple[tuple[str, str], ...]) -> bool:
    names = () if scene is None else {entry.name for entry in fields(scene)}
    known = {n: v for n, v in changes if n in names and v in (THINGS if n == "thing" else VALUES[n])}
    return scene is not None and bool(known) and is_held_out(_changed(scene, known))


def _changed(scene: AnyScene, values: dict[str, Any]) -> AnyScene:
    return replace(scene, **values)
