from __future__ import annotations

import pytest
import torch

from modaverse.interfaces import Sampling
from modaverse.language.sampling import choose, noise_seed, nucleus


def test_greedy_takes_the_likeliest() -> None:
    assert choose(torch.tensor([0.1, 3.0, 2.9]), Sampling(), seed=1, position=2) == 1


def test_chance_depends_on_seed_and_position_alone() -> None:
    logits = torch.zeros(50)
    warm = Sampling(temperature=1.0)
    first = [choose(logits, warm, seed=7, position=p) for p in range(40)]
    torch.manual_seed(123)
    assert [choose(logits, warm, seed=7, position=p) for p in reversed(range(40))][::-1] == first
    assert [choose(logits, warm, seed=8, position=p) for p in range(40)] != first
    assert len(set(first)) > 15
    assert noise_seed(1, 12) != noise_seed(11, 2)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_samples_follow_the_softmax(temperature: float) -> None:
    logits = torch.tensor([0.0, 1.0, 2.0, -torch.inf])
    sampling = Sampling(temperature=temperature)
    draws = torch.tensor([choose(logits, sampling, seed=0, position=p) for p in range(4000)])
    counts = torch.bincount(draws, minlength=4) / 4000
    assert counts[3] == 0
    torch.testing.assert_close(counts, (logits / temperature).softmax(0), atol=0.03, rtol=0)


def test_nucleus_keeps_the_smallest_set_that_reaches_p() -> None:
    logits = torch.tensor([0.15, 0.5, 0.05, 0.3]).log()
    kept = [index for index, value in enumerate(nucleus(logits, 0.75)) if value > -torch.inf]
    assert kept == [1, 3]
    assert torch.equal(nucleus(logits, 0.01) > -torch.inf, torch.tensor([False, True, False, False]))
    sampling = Sampling(temperature=1.0, top_p=0.75)
    assert {choose(logits, sampling, seed=0, position=p) for p in range(200)} == {1, 3}
