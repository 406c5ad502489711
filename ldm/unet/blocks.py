"""The parts of the U-Net: how it is conditioned on the time, and on the text by cross-attention.

B batch, C channels, H x W height and width, L = H * W tokens of the latent, M tokens of the text, D
their width.
"""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..layers import Conv2d, GroupNorm, Linear, attention
from .embeddings import guidance_embedding


def timestep_embedding(t: Tensor, width: int) -> Tensor:
    """cos and sin of t at geometrically spaced frequencies, 1 down to nearly 1/10000 (1/9441 at
    width 320). Vaswani et al. 2017, sec. 3.5.

    t (B,), possibly fractional -> (B, width) float32, cosines first.
    """
    half = width // 2
    steps = torch.arange(half, device=t.device, dtype=torch.float32)
    angles = t.float()[:, None] * torch.exp(-math.log(10000) * steps / half)
    return torch.cat([angles.cos(), angles.sin()], dim=-1)


class Embedding(nn.Module):
    """Linear, SiLU, Linear: of the sinusoidal embedding of t, or of the conditioning's vector.

    guidance_width: of the embedding of a guidance scale that is added to that of t, where the scale
    was distilled into the network (Meng et al. 2023, sec. 3.1); None: there is none.
    """

    __call__: Callable[..., Tensor]
    linear2: Callable[[Tensor], Tensor]

    def __init__(self, width: int, out: int, guidance_width: int | None = None) -> None:
        super().__init__()
        self.guidance = nn.Linear(guidance_width, width, bias=False) if guidance_width else None
        self.linear1 = nn.Linear(width, out)
        self.linear2 = nn.Linear(out, out)

    def forward(self, x: Tensor, guidance: Tensor | None = None) -> Tensor:
        """x (B, width), guidance (B,) -> (B, out)"""
        x = x.to(self.linear1.weight.dtype)
        if self.guidance is not None and guidance is not None:
            w = guidance_embedding(guidance, self.guidance.in_features)
            x = x + self.guidance(w.to(x.dtype))
        return self.linear2(F.silu(self.linear1(x)))


class CrossAttention(nn.Module):
    """Queries from x; keys and values from the context: x itself, or the text."""

    __call__: Callable[..., Tensor]

    def __init__(self, width: int, context_width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q = Linear(width, width, bias=False)
        self.k = Linear(context_width, width, bias=False)
        self.v = Linear(context_width, width, bias=False)
        self.out = Linear(width, width)

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        """x (B, L, D), context (B, M, context_width) -> (B, L, D)"""
        return self.out(attention(self.q(x), self.k(context), self.v(context), self.heads))


class GEGLU(nn.Module):
    """A two-layer network whose hidden units are gated:  down(value * gelu(gate)).  Shazeer 2020,
    eq. 6."""

    __call__: Callable[..., Tensor]

    def __init__(self, width: int) -> None:
        super().__init__()
        self.up = Linear(width, 8 * width)
        self.down = Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        value, gate = self.up(x).chunk(2, dim=-1)
        return self.down(F.gelu(gate).mul_(value))


class TransformerBlock(nn.Module):
    """Self-attention, cross-attention, feed-forward; each pre-norm and residual.

    only_cross_attention: the first attention reads the context, too.
    """

    __call__: Callable[..., Tensor]

    def __init__(
        self, width: int, context_width: int, heads: int, only_cross_attention: bool
    ) -> None:
        super().__init__()
        self.only_cross_attention = only_cross_attention
        self.norm1 = nn.LayerNorm(width)
        self.self_attn = CrossAttention(
            width, context_width if only_cross_attention else width, heads
        )
        self.norm2 = nn.LayerNorm(width)
        self.cross_attn = CrossAttention(width, context_width, heads)
        self.norm3 = nn.LayerNorm(width)
        self.mlp = GEGLU(width)

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        h = self.norm1(x)
        x = x + self.self_attn(h, context if self.only_cross_attention else h)
        x = x + self.cross_attn(self.norm2(x), context)
        return x + self.mlp(self.norm3(x))


class SpatialTransformer(nn.Module):
    """A transformer over the pixels of a feature map. Rombach et al. 2022, app. E.2.1.

    linear_projection: SD 2 projects the tokens with a linear layer where SD 1 projects the map with
    a 1x1 convolution.
    """

    __call__: Callable[..., Tensor]

    def __init__(
        self, width: int, context_width: int, heads: int, groups: int, depth: int,
        linear_projection: bool, only_cross_attention: bool = False,
    ) -> None:  # fmt: skip
        super().__init__()
        self.norm = GroupNorm(groups, width, eps=1e-6)
        self.linear_projection = linear_projection
        self.proj_in = Linear(width, width) if linear_projection else Conv2d(width, width, 1)
        self.blocks = nn.ModuleList(
            TransformerBlock(width, context_width, heads, only_cross_attention)
            for _ in range(depth)
        )
        self.proj_out = Linear(width, width) if linear_projection else Conv2d(width, width, 1)

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        """x (B, C, H, W), context (B, M, D) -> (B, C, H, W)"""
        h = self.norm(x)
        h = self.proj_in(tokens(h)) if self.linear_projection else tokens(self.proj_in(h))
        for block in self.blocks:
            h = block(h, context)  # (B, L, C)
        h = pixels(self.proj_out(h), x) if self.linear_projection else self.proj_out(pixels(h, x))
        return x + h


def tokens(x: Tensor) -> Tensor:
    """(B, C, H, W) -> (B, L, C), each token's numbers in a row, as all that follows wants them."""
    return x.flatten(2).transpose(1, 2).contiguous()


def pixels(h: Tensor, x: Tensor) -> Tensor:
    """(B, L, C) -> (B, C, H, W) as x is, also in memory: maps of two layouts are slow to add."""
    h = h.transpose(1, 2).reshape(x.shape)
    return h.contiguous() if x.is_contiguous() else h


class Downsample(nn.Module):
    """Half the size, rounded up, by a convolution of stride 2."""

    __call__: Callable[..., Tensor]

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = Conv2d(channels, channels, 3, stride=2, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H/2, W/2)"""
        return self.conv(x)


class Upsample(nn.Module):
    """Twice the size, or one less, by repeating pixels, then a convolution to smooth them."""

    __call__: Callable[..., Tensor]

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor, size: torch.Size) -> Tensor:
        """(B, C, H, W) -> (B, C, *size), the size that was halved: 2H or 2H - 1, 2W or 2W - 1"""
        return self.conv(F.interpolate(x, size, mode="nearest"))
