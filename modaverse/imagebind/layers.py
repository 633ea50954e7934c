"""The transformer that every modality's trunk is: pre-norm blocks of attention and an MLP.

Legend: b batch, s positions, d width, h heads, e width of a head (d = h·e).

Parameter names follow the published checkpoint, whose attention is laid out as `torch.nn.MultiheadAttention`
lays it out (packed `in_proj_weight`, `bias_k`, `bias_v`, `out_proj`).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

EPS = 1e-6


def _attend(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> Tensor:
    """softmax(query · keyᵀ / √e + mask) · value, all (b, h, s, e)."""
    training_on_cpu = query.dtype is torch.bfloat16 and query.requires_grad and query.device.type == "cpu"
    if not training_on_cpu:
        return F.scaled_dot_product_attention(query, key, value, attn_mask=mask)
    # The fused kernel's backward pass in bfloat16 takes a CPU three times as long as these plain products.
    logits = (query * query.shape[-1] ** -0.5) @ key.transpose(-1, -2)
    if mask is not None:
        logits = logits + mask.to(logits.dtype)
    return torch.matmul(logits.softmax(dim=-1).to(value.dtype), value)


class Attention(nn.Module):
    """Multi-head self-attention (Vaswani et al., arXiv 1706.03762, section 3.2).

    With `extra_bias`, one learned position (`bias_k`, `bias_v`, as torch's `add_bias_kv`) can be attended to
    besides the sequence itself.
    """

    bias_k: nn.Parameter | None
    bias_v: nn.Parameter | None

    def __init__(self, width: int, heads: int, extra_bias: bool) -> None:
        super().__init__()
        self.heads = heads
        self.in_proj_weight = nn.Parameter(torch.empty(3 * width, width))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * width))
        if extra_bias:
            self.bias_k = nn.Parameter(torch.empty(1, 1, width))
            self.bias_v = nn.Parameter(torch.empty(1, 1, width))
            nn.init.xavier_normal_(self.bias_k)
            nn.init.xavier_normal_(self.bias_v)
        else:
            self.register_parameter("bias_k", None)
            self.register_parameter("bias_v", None)
        self.out_proj = nn.Linear(width, width)
        nn.init.xavier_uniform_(self.in_proj_weight)
        nn.init.zeros_(self.out_proj.bias)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """(b, s, d) -> (b, s, d); `mask` (s, s) is added to the attention's logits."""
        b, s, d = x.shape
        packed = F.linear(x, self.in_proj_weight, self.in_proj_bias)
        # (3, b, h, s, e): three views of one tensor, none of them a copy
        query, key, value = packed.view(b, s, 3, self.heads, d // self.heads).permute(2, 0, 3, 1, 4)
        if self.bias_k is not None and self.bias_v is not None:
            key = torch.cat((key, self._as_position(self.bias_k, key)), dim=2)
            value = torch.cat((value, self._as_position(self.bias_v, value)), dim=2)
        mixed = _attend(query, key, value, mask)
        out: Tensor = self.out_proj(mixed.transpose(1, 2).reshape(b, s, d))
        return out

    def _as_position(self, bias: Tensor, like: Tensor) -> Tensor:
        """(1, 1, d) -> (b, h, 1, e), in the type that autocast chose for `like`."""
        return bias.view(1, self.heads, 1, -1).to(like.dtype).expand(like.shape[0], -1, -1, -1)


class Mlp(nn.Module):
    """Two linear layers with the exact GELU between them, four times as wide inside."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, 4 * width)
        self.fc2 = nn.Linear(4 * width, width)
        for layer in (self.fc1, self.fc2):
            nn.init.trunc_normal_(layer.weight, std=0.02)
            nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.fc2(F.gelu(self.fc1(x)))
        return out


class Block(nn.Module):
    """x + attention(norm(x)), then x + mlp(norm(x)); in training, whole branches are dropped at random.

    `drop_path` is the chance that one sample skips one branch (Huang et al., "Deep Networks with Stochastic
    Depth", arXiv 1603.09382); what stays is scaled up so that the expectation is the same.
    """

    def __init__(self, width: int, heads: int, extra_bias: bool, drop_path: float) -> None:
        super().__init__()
        self.drop_path = drop_path
        self.attn = Attention(width, heads, extra_bias)
        self.norm_1 = nn.LayerNorm(width, eps=EPS)
        self.mlp = Mlp(width)
        self.norm_2 = nn.LayerNorm(width, eps=EPS)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        x = x + self._thin(self.attn(self.norm_1(x), mask))
        return x + self._thin(self.mlp(self.norm_2(x)))

    def _thin(self, branch: Tensor) -> Tensor:
        if not self.training or self.drop_path == 0:
            return branch
        keep = 1 - self.drop_path
        chosen = torch.rand(branch.shape[0], 1, 1, device=branch.device) < keep
        return branch * (chosen.to(branch.dtype) / keep)


class Trunk(nn.Module):
    """A stack of blocks, with a LayerNorm before the first one where `norm_first`."""

    def __init__(
        self, width: int, blocks: int, heads: int, *, extra_bias: bool, norm_first: bool, drop_path: float
    ) -> None:
        super().__init__()
        self.pre_transformer_layer: nn.Module = (
            nn.Sequential(nn.LayerNorm(width, eps=EPS)) if norm_first else nn.Identity()
        )
        rates = [drop_path * index / max(blocks - 1, 1) for index in range(blocks)]
        self.blocks = nn.ModuleList(Block(width, heads, extra_bias, rate) for rate in rates)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """(b, s, d) -> (b, s, d)."""
        x = self.pre_transformer_layer(x)
        for block in self.blocks:
            x = block(x, mask)
        return x
