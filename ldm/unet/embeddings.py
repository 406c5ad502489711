"""What few networks are told beside the time: the noise level of a picture by its number, the scale
of a guidance that was distilled into them."""

import math

import torch
from torch import Tensor, nn


def guidance_embedding(scale: Tensor, width: int) -> Tensor:
    """sin and cos of 1000 (w - 1), for the guidance scale w of a network that it was distilled
    into, as LCM's authors made them (diffusers, LatentConsistencyModelPipeline). (B,) -> (B, width)
    """
    half = width // 2
    steps = torch.arange(half, device=scale.device, dtype=torch.float32)
    angles = 1000 * (scale.float()[:, None] - 1) * torch.exp(-math.log(10000) * steps / (half - 1))
    return torch.cat([angles.sin(), angles.cos()], dim=-1)


class ClassEmbedding(nn.Embedding):
    """One learnt vector for each of so many classes: the noise levels of the x4 upscaler."""

    def forward(self, x: Tensor) -> Tensor:
        """x (B, 1), whole numbers -> (B, out)"""
        return super().forward(x[:, 0].long())
