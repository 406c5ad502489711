"""CLIP whole: texts and pictures as vectors that can be compared. Radford et al. 2021, fig. 3.

N texts of L tokens, M pictures, E width of a vector.
"""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .config import TextConfig
from .model import TextEncoder
from .vision import VisionConfig, VisionEncoder


class CLIP(nn.Module):
    __call__: Callable[..., Tensor]

    def __init__(self, text: TextConfig, vision: VisionConfig) -> None:
        """ValueError: the towers' vectors are not of one width."""
        super().__init__()
        if text.projection != vision.projection:
            raise ValueError(
                f"texts become vectors of {text.projection} numbers, and pictures of "
                f"{vision.projection}: they must be as many"
            )
        self.text = TextEncoder(text)
        self.vision = VisionEncoder(vision)
        self.logit_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))  # sec. 2.5

    def forward(self, pictures: Tensor, ids: Tensor) -> Tensor:
        """pictures (M, 3, S, S), ids (N, L) -> how well they go together, (M, N)."""
        return self.logits(self.of_pictures(pictures), self.of_texts(ids))

    def of_pictures(self, pictures: Tensor) -> Tensor:
        return F.normalize(self.vision(pictures).pooled, dim=1)  # (M, E)

    def of_texts(self, ids: Tensor) -> Tensor:
        return F.normalize(self.text(ids).pooled, dim=1)  # (N, E)

    def logits(self, pictures: Tensor, texts: Tensor) -> Tensor:
        """exp(t) cos(picture, text), of vectors of length 1. -> (M, N)"""
        return self.logit_scale.exp() * pictures @ texts.T
