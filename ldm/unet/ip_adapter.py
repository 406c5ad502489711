"""IP-Adapter: the U-Net's cross-attention reads a picture beside the text, by keys and values of
its own, and the two results are added:  attention(q, k, v) + scale * attention(q, k', v').

Ye et al. 2023, "IP-Adapter: text compatible image prompt adapter for text-to-image diffusion
models", sec. 3.2.

B batch, E width of what a vision tower says of a picture, L tokens of the tower, N tokens that are
read, D their width, that of the text's, W width of the resampler.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import chain
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..layers import Linear, attention
from .blocks import CrossAttention
from .model import UNet, UNetConfig

HEAD = 64  # the width of a head of the resampler
TOWERS = (  # the widths of their vectors and of their tokens
    (768, 1024, "ViT-L/14"),
    (1024, 1280, "ViT-H/14"),
    (1280, 1664, "ViT-bigG/14"),
)


@dataclass(frozen=True)
class IPAdapterConfig:
    """projection     what makes tokens of what the tower says: "linear" of the vector of a picture,
                   "mlp" or "resampler" (of "plus") of the tower's last layer but one
    image_width    E
    context_width  D
    tokens         N; 0: as many as the tower has (mlp)
    widths         of the U-Net's cross-attentions, see `attentions`
    width, inner, mlp_width, layers   of the resampler, and of its queries
    """

    projection: Literal["linear", "mlp", "resampler"]
    image_width: int
    context_width: int
    tokens: int
    widths: tuple[int, ...]
    width: int = 0
    inner: int = 0
    mlp_width: int = 0
    layers: int = 0

    @property
    def tower(self) -> str:
        """The vision tower of CLIP that it was trained with, as far as its width tells."""
        linear = self.projection == "linear"
        named = {vector if linear else width: name for vector, width, name in TOWERS}
        what = f"{'vectors' if linear else 'tokens'} of {self.image_width} numbers"
        return f"{named.get(self.image_width, 'vision tower')} ({what})"


class LinearProjection(nn.Module):
    __call__: Callable[..., Tensor]
    norm: Callable[[Tensor], Tensor]

    def __init__(self, config: IPAdapterConfig) -> None:
        super().__init__()
        self.size = config.tokens, config.context_width
        self.linear = nn.Linear(config.image_width, config.tokens * config.context_width)
        self.norm = nn.LayerNorm(config.context_width)

    def forward(self, x: Tensor) -> Tensor:
        """(B, E) -> (B, N, D)"""
        return self.norm(self.linear(x).unflatten(1, self.size))


class MLPProjection(nn.Module):
    """Of each of the tower's tokens (the adapter for whole faces)."""

    __call__: Callable[..., Tensor]
    norm: Callable[[Tensor], Tensor]

    def __init__(self, config: IPAdapterConfig) -> None:
        super().__init__()
        self.up = nn.Linear(config.image_width, config.image_width)
        self.down = nn.Linear(config.image_width, config.context_width)
        self.norm = nn.LayerNorm(config.context_width)

    def forward(self, x: Tensor) -> Tensor:
        """(B, L, E) -> (B, L, D)"""
        return self.norm(self.down(F.gelu(self.up(x))))


class ResamplerLayer(nn.Module):
    """The queries read the tower's tokens and each other; then a feed-forward. Pre-norm."""

    __call__: Callable[..., Tensor]
    mlp_down: Callable[[Tensor], Tensor]

    def __init__(self, config: IPAdapterConfig) -> None:
        super().__init__()
        width, inner = config.width, config.inner
        self.heads = inner // HEAD
        self.norm_x, self.norm_queries = nn.LayerNorm(width), nn.LayerNorm(width)
        self.q = nn.Linear(width, inner, bias=False)
        self.kv = nn.Linear(width, 2 * inner, bias=False)
        self.out = nn.Linear(inner, width, bias=False)
        self.norm_mlp = nn.LayerNorm(width)
        self.mlp_up = nn.Linear(width, config.mlp_width, bias=False)
        self.mlp_down = nn.Linear(config.mlp_width, width, bias=False)

    def forward(self, queries: Tensor, x: Tensor) -> Tensor:
        """queries (B, N, W), x (B, L, W) -> (B, N, W)"""
        h = self.norm_queries(queries)
        k, v = self.kv(torch.cat([self.norm_x(x), h], dim=1)).chunk(2, dim=-1)  # (B, L + N, inner)
        queries = queries + self.out(attention(self.q(h), k, v, self.heads))
        return queries + self.mlp_down(F.gelu(self.mlp_up(self.norm_mlp(queries))))


class Queries(nn.Module):
    """Learnt ones, the same for every picture."""

    def __init__(self, config: IPAdapterConfig) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(1, config.tokens, config.width))


class Resampler(nn.Module):
    """As many tokens as there are learnt queries, of as many as the tower has. Alayrac et al. 2022
    ("Flamingo"), the Perceiver Resampler."""

    __call__: Callable[..., Tensor]
    norm: Callable[[Tensor], Tensor]

    def __init__(self, config: IPAdapterConfig) -> None:
        super().__init__()
        self.queries = Queries(config)
        self.inward = nn.Linear(config.image_width, config.width)
        self.layers = nn.ModuleList(ResamplerLayer(config) for _ in range(config.layers))
        self.outward = nn.Linear(config.width, config.context_width)
        self.norm = nn.LayerNorm(config.context_width)

    def forward(self, x: Tensor) -> Tensor:
        """(B, L, E) -> (B, N, D)"""
        x = self.inward(x)  # (B, L, W)
        queries = self.queries.weight.expand(len(x), -1, -1)  # (B, N, W)
        for layer in self.layers:
            queries = layer(queries, x)
        return self.norm(self.outward(queries))


PROJECTIONS = {"linear": LinearProjection, "mlp": MLPProjection, "resampler": Resampler}


class IPAdapter(nn.Module):
    """Called with what a vision tower says of a picture, (B, E) or (B, L, E), it gives the tokens
    (B, N, D) that `reading` lets a U-Net read."""

    __call__: Callable[..., Tensor]

    def __init__(self, config: IPAdapterConfig) -> None:
        super().__init__()
        self.config = config
        self.projection: Callable[[Tensor], Tensor] = PROJECTIONS[config.projection](config)
        self.k, self.v = (
            nn.ModuleList(
                Linear(config.context_width, width, bias=False) for width in config.widths
            )
            for _ in range(2)
        )

    def forward(self, said: Tensor) -> Tensor:
        return self.projection(said)


def attentions(unet: UNet) -> list[CrossAttention]:
    """All in a U-Net that read the text, in the order in which the files number them, which is
    diffusers': of the way down, of the way up, of the middle."""
    levels: Any = chain(unet.down, unet.up)
    transformers = [transformer for level in levels for transformer in level.attn]
    middle = [] if unet.mid.attn is None else [unet.mid.attn]
    return [block.cross_attn for one in (*transformers, *middle) for block in one.blocks]


def widths(config: UNetConfig) -> tuple[int, ...]:
    """Of `attentions`."""
    found: list[int] = []
    for width, depth in zip(config.channels, config.depth):
        found += [width] * depth * config.res_blocks
    for level in reversed(range(len(config.channels))):
        found += [config.channels[level]] * sum(config.depths_up(level))
    return (*found, *[config.channels[-1]] * (config.mid_depth or 0))


class Second:
    """What one cross-attention reads beside the text, with the same queries."""

    def __init__(self, k: Tensor, v: Tensor, heads: int, scale: Tensor | float) -> None:
        self.k, self.v, self.heads, self.scale = k, v, heads, scale

    def keep(self, module: nn.Module, args: Any, q: Tensor) -> None:
        self.q = q

    def add(self, module: nn.Module, args: Sequence[Tensor]) -> tuple[Tensor]:
        return (args[0] + self.scale * attention(self.q, self.k, self.v, self.heads),)


@contextmanager
def reading(
    unet: UNet, adapter: IPAdapter, tokens: Tensor, scale: Tensor | float
) -> Iterator[None]:
    """While it lasts, the U-Net reads tokens (B, N, D) of pictures beside its text. scale: a
    number, or (B, 1, 1)."""
    with ExitStack() as stack:
        for attn, k, v in zip(attentions(unet), adapter.k, adapter.v, strict=True):
            second = Second(k(tokens), v(tokens), attn.heads, scale)
            stack.callback(attn.q.register_forward_hook(second.keep).remove)
            stack.callback(attn.out.register_forward_pre_hook(second.add).remove)
        yield
