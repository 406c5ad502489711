"""The vision tower: a transformer over patches of a picture. Dosovitskiy et al. 2021 ("An image is
worth 16x16 words"), fig. 1 and eqs. 1 to 4; with the layer norm before it, and the projection after
it, of Radford et al. 2021 (CLIP), sec. 2.4 and fig. 3.

B batch, S side of a picture in pixels, P side of a patch, L = 1 + (S/P)^2 tokens, D width.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from .model import Layer


@dataclass(frozen=True)
class VisionConfig:
    """size, patch          sides of a picture and of a patch of it, in pixels
    width, layers, heads
    mlp_width            of the hidden units of each layer's MLP
    activation           quick_gelu in OpenAI's CLIP, gelu in OpenCLIP
    projection           width of the vector that is compared with a text's
    """

    size: int
    patch: int
    width: int
    layers: int
    heads: int
    mlp_width: int
    activation: Literal["quick_gelu", "gelu"]
    projection: int

    def __post_init__(self) -> None:
        if self.size % self.patch or self.width % self.heads:
            raise ValueError(
                f"a vision tower's patches of {self.patch} must fill its pictures of {self.size} "
                f"pixels, and its {self.heads} heads its width of {self.width}: change one of them"
            )


class VisionOutput(NamedTuple):
    hidden: tuple[Tensor, ...]  # layers + 1 of (B, L, D): embedding, each layer's result, no norm
    pooled: Tensor  # (B, projection) the picture in one vector: the first token, normed, projected


class VisionEncoder(nn.Module):
    __call__: Callable[..., VisionOutput]

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        self.config = config
        length = 1 + (config.size // config.patch) ** 2
        sizes = config.width, config.heads, config.mlp_width, config.activation
        self.patches = nn.Conv2d(3, config.width, config.patch, config.patch, bias=False)
        self.first = nn.Embedding(1, config.width)
        self.position = nn.Embedding(length, config.width)
        self.norm_in = nn.LayerNorm(config.width)
        self.layers = nn.ModuleList(Layer(*sizes, causal=False) for _ in range(config.layers))
        self.norm = nn.LayerNorm(config.width)
        self.projection = nn.Linear(config.width, config.projection, bias=False)

    def forward(self, pictures: Tensor) -> VisionOutput:
        """pictures (B, 3, S, S), as `pictures.prepared` makes them."""
        x = self.patches(pictures).flatten(2).transpose(1, 2)  # (B, L - 1, D)
        first = self.first.weight.expand(len(x), 1, -1)  # (B, 1, D)
        x = torch.cat([first, x], dim=1) + self.position.weight  # (B, L, D)
        hidden = [self.norm_in(x)]
        for layer in self.layers:
            hidden.append(layer(hidden[-1]))  # (B, L, D)
        pooled = self.projection(self.norm(hidden[-1][:, 0]))  # (B, projection)
        return VisionOutput(tuple(hidden), pooled)


def check_vision(
    vision: VisionConfig | None, conditioning: Sequence[str], vector_width: int | None
) -> None:
    """ValueError unless a U-Net that is told a picture's embedding, and one of its noise level that
    is as wide, has a tower that sees the picture."""
    if vision is None or "image_embedding" not in conditioning:
        raise ValueError("a vision tower and the conditioning image_embedding go together")
    if vector_width != 2 * vision.projection:
        raise ValueError(
            f"the U-Net's vector_width is {vector_width}: it must be twice the vision tower's "
            f"projection of {vision.projection}"
        )
