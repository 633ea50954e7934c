from __future__ import annotations

import pytest
import torch

from modaverse.imagebind.layers import Attention, Block


@pytest.mark.parametrize(("extra_bias", "causal"), [(False, False), (False, True), (True, False)])
def test_attention_is_torchs_multi_head_attention(extra_bias: bool, causal: bool) -> None:
    torch.manual_seed(0)
    ours = Attention(24, 3, extra_bias)
    theirs = torch.nn.MultiheadAttention(24, 3, add_bias_kv=extra_bias, batch_first=True)
    theirs.load_state_dict(ours.state_dict())
    x = torch.randn(2, 7, 24)
    mask = torch.full((7, 7), float("-inf")).triu(1) if causal else None
    expected, _ = theirs(x, x, x, attn_mask=mask, need_weights=False)
    torch.testing.assert_close(ours(x, mask), expected, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("extra_bias", [False, True])
def test_bfloat16_training_follows_float32(extra_bias: bool) -> None:
    """The path that trains on a CPU gives what the other path gives, forward and backward."""
    torch.manual_seed(0)
    attention = Attention(32, 2, extra_bias)
    mask = None if extra_bias else torch.full((9, 9), float("-inf")).triu(1)
    x = torch.randn(3, 9, 32, requires_grad=True)
    target = torch.randn(3, 9, 32)
    exact = attention(x, mask)
    (exact * target).sum().backward()
    exact_grad, x.grad = x.grad, None
    with torch.autocast("cpu", torch.bfloat16):
        rough = attention(x, mask)
    (rough.float() * target).sum().backward()
    assert rough.dtype is torch.bfloat16
    assert exact_grad is not None
    assert x.grad is not None
    torch.testing.assert_close(rough.float(), exact, atol=0.03, rtol=0.05)
    assert torch.nn.functional.cosine_similarity(x.grad.flatten(), exact_grad.flatten(), dim=0) > 0.999


def test_stochastic_depth_drops_branches_in_training_only() -> None:
    torch.manual_seed(0)
    block = Block(8, 2, extra_bias=False, drop_path=0.5)
    torch.nn.init.normal_(block.mlp.fc2.weight)
    x = torch.randn(1, 3, 8).expand(400, -1, -1)
    kept = block.eval()(x)
    assert torch.equal(kept, kept[:1].expand_as(kept))
    trained = block.train()(x)
    untouched = (trained == x).flatten(1).all(dim=1).float().mean()
    assert 0.15 < untouched < 0.35  # both branches dropped: a quarter
    assert trained.isfinite().all()
