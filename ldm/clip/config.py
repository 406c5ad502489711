"""The shape of a text encoder."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class TextConfig:
    """vocabulary, length   number of tokens there are, and that are read; the last is the end's
    width, layers, heads
    mlp_width            of the hidden units of each layer's MLP (4 * width in Stable Diffusion)
    activation           quick_gelu in OpenAI's CLIP (SD 1), gelu in OpenCLIP (SD 2)
    layer                whose result cross-attention reads, counted from the end: 1 is the last
    final_norm           whether the final layer norm follows it
    pad                  the token after the end; None: the end's own
    projection           width of the pooled vector; None: it is not projected
    """

    vocabulary: int
    length: int
    width: int
    layers: int
    heads: int
    mlp_width: int
    activation: Literal["quick_gelu", "gelu"]
    layer: int
    final_norm: bool
    pad: int | None
    projection: int | None
