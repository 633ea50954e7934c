"""How the next token is chosen, so that chance depends on (seed, position) and on nothing else."""

from __future__ import annotations

import hashlib

import torch

from modaverse.interfaces import Sampling


def choose(logits: torch.Tensor, sampling: Sampling, *, seed: int, position: int) -> int:
    """One token from `logits` (vocabulary,), where -inf means forbidden.

    Gumbel-max: the argmax of logits / temperature + Gumbel noise is a sample of the softmax. The noise
    is drawn afresh for each position, so that it does not matter what was sampled before, by whom, or in
    which batch; and small numeric differences rarely change the outcome.
    """
    if sampling.temperature <= 0:
        return int(logits.argmax())
    scaled = logits.float().cpu() / sampling.temperature
    if sampling.top_p < 1:
        scaled = nucleus(scaled, sampling.top_p)
    generator = torch.Generator().manual_seed(noise_seed(seed, position))
    exponential = torch.empty_like(scaled).exponential_(generator=generator)
    return int((scaled - exponential.log()).argmax())


def nucleus(logits: torch.Tensor, top_p: float) -> torch.Tensor:
    """Forbid all but the smallest set of tokens whose probability reaches `top_p`
    (Holtzman et al., arXiv 1904.09751, section 3.1).
    """
    ordered, order = logits.sort(descending=True, stable=True)
    probabilities = ordered.softmax(dim=-1)
    before = probabilities.cumsum(dim=-1) - probabilities
    ordered[before >= top_p] = -torch.inf
    return torch.empty_like(logits).scatter_(0, order, ordered)


def noise_seed(seed: int, position: int) -> int:
    """A 63-bit seed, well mixed: neighbouring seeds and positions have nothing in common."""
    digest = hashlib.blake2b(f"{seed}:{position}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1
