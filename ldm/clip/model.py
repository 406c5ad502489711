"""The text encoder: a causal transformer over tokens. Radford et al. 2021 (CLIP), sec. 2.4.

B batch, L tokens, D width.
"""

from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..layers import attention


@dataclass(frozen=True)
class TextConfig:
    """vocabulary, length   number of tokens there are, and that are read
    width, layers, heads
    activation           quick_gelu in OpenAI's CLIP (SD 1), gelu in OpenCLIP (SD 2)
    """

    vocabulary: int
    length: int
    width: int
    layers: int
    heads: int
    activation: Literal["quick_gelu", "gelu"]


class TextOutput(NamedTuple):
    last: Tensor  # (B, L, D) after the final layer norm: what SD 1's U-Net reads
    hidden: tuple[Tensor, ...]  # layers + 1 of (B, L, D): the embedding, then each layer's result, before that norm
    pooled: Tensor  # (B, D) `last` at the end-of-text token: the whole text in one vector


class SelfAttention(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q = nn.Linear(width, width)
        self.k = nn.Linear(width, width)
        self.v = nn.Linear(width, width)
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(attention(self.q(x), self.k(x), self.v(x), self.heads, causal=True))  # type: ignore[no-any-return]


class MLP(nn.Module):
    def __init__(self, width: int, activation: Literal["quick_gelu", "gelu"]) -> None:
        super().__init__()
        self.activation = activation
        self.up = nn.Linear(width, 4 * width)
        self.down = nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        h = self.up(x)
        h = F.gelu(h) if self.activation == "gelu" else h * torch.sigmoid(1.702 * h)
        return self.down(h)  # type: ignore[no-any-return]


class Layer(nn.Module):
    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(config.width)
        self.attn = SelfAttention(config.width, config.heads)
        self.norm2 = nn.LayerNorm(config.width)
        self.mlp = MLP(config.width, config.activation)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))  # type: ignore[no-any-return]


class TextEncoder(nn.Module):
    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        self.config = config
        self.token = nn.Embedding(config.vocabulary, config.width)
        self.position = nn.Embedding(config.length, config.width)
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.layers))
        self.norm = nn.LayerNorm(config.width)

    def forward(self, ids: Tensor) -> TextOutput:
        """ids (B, L) int64, L <= length; the end-of-text token is the one with the highest id."""
        x = self.token(ids) + self.position.weight[: ids.shape[1]]
        hidden = [x]
        for layer in self.layers:
            hidden.append(layer(hidden[-1]))
        last = self.norm(hidden[-1])
        pooled = last[torch.arange(len(ids), device=ids.device), ids.argmax(dim=1)]
        return TextOutput(last, tuple(hidden), pooled)
