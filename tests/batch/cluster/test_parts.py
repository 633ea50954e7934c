"""What travels to a worker of a profile."""

from __future__ import annotations

import pickle

from modaverse.batch.cluster.parts import ProfileParts
from modaverse.settings import Profile

VALUES = {"name": "own", "llm": {"path": "x", "adapter": "y"}, "encoder": {"path": "z"}}


def parts(**generators: object) -> ProfileParts:
    return ProfileParts(Profile.model_validate(VALUES | {"generators": generators}))


def test_a_worker_is_given_as_many_calls_as_it_can_have_under_way() -> None:
    assert parts(cards=("sd15",), workers=2, batch=8).places == 16
    assert parts().places == 0  # nothing can be called, so nobody is needed


def test_parts_arrive_as_they_were_sent_but_for_the_device() -> None:
    sent = parts(cards=("sd15",), batch=4).on("cuda")
    there = pickle.loads(pickle.dumps(sent))
    assert there == sent
    assert there.device == "cuda"
    assert there.on("auto") == parts(cards=("sd15",), batch=4)
