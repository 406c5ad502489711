"""The text encoder: a causal transformer over tokens. Radford et al. 2021 (CLIP), sec. 2.4.

B batch, L tokens, D width.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..layers import attention
from .config import TextConfig


class TextOutput(NamedTuple):
    last: Tensor  # (B, L, D) the last layer's result after the final layer norm
    hidden: tuple[Tensor, ...]  # layers + 1 of (B, L, D): embedding, each layer's result, no norm
    pooled: Tensor  # (B, projection or D) `last` at the end-of-text token: the text in one vector


class SelfAttention(nn.Module):
    __call__: Callable[..., Tensor]
    out: Callable[[Tensor], Tensor]

    def __init__(self, width: int, heads: int, causal: bool) -> None:
        super().__init__()
        self.heads, self.causal = heads, causal
        self.q = nn.Linear(width, width)
        self.k = nn.Linear(width, width)
        self.v = nn.Linear(width, width)
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(attention(self.q(x), self.k(x), self.v(x), self.heads, self.causal))


class MLP(nn.Module):
    __call__: Callable[..., Tensor]
    down: Callable[[Tensor], Tensor]

    def __init__(self, width: int, hidden: int, activation: str) -> None:
        super().__init__()
        self.activation = activation
        self.up = nn.Linear(width, hidden)
        self.down = nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        h = self.up(x)
        h = F.gelu(h) if self.activation == "gelu" else h * torch.sigmoid(1.702 * h)
        return self.down(h)


class Layer(nn.Module):
    """Self-attention, MLP; each pre-norm and residual."""

    def __init__(self, width: int, heads: int, hidden: int, activation: str, causal: bool) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attn = SelfAttention(width, heads, causal)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = MLP(width, hidden, activation)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class TextEncoder(nn.Module):
    __call__: Callable[..., TextOutput]

    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        self.config = config
        self.token = nn.Embedding(config.vocabulary, config.width)
        self.position = nn.Embedding(config.length, config.width)
        sizes = config.width, config.heads, config.mlp_width, config.activation
        self.layers = nn.ModuleList(Layer(*sizes, causal=True) for _ in range(config.layers))
        self.norm = nn.LayerNorm(config.width)
        self.projection = (
            nn.Linear(config.width, config.projection, bias=False) if config.projection else None
        )

    def forward(self, ids: Tensor) -> TextOutput:
        """ids (B, L) int64, L <= length; a text ends at the first token of id vocabulary - 1."""
        x = self.token(ids) + self.position.weight[: ids.shape[1]]  # (B, L, D)
        hidden = [x]
        for layer in self.layers:
            hidden.append(layer(hidden[-1]))  # (B, L, D)
        last = self.norm(hidden[-1])  # (B, L, D)
        end = (ids == self.config.vocabulary - 1).int().argmax(dim=1)  # (B,)
        pooled = last[torch.arange(len(ids), device=ids.device), end]  # (B, D)
        if self.projection is not None:
            pooled = self.projection(pooled)  # (B, projection)
        return TextOutput(last, tuple(hidden), pooled)
