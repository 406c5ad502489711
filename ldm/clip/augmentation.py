"""Noise on the embedding of a picture, as models that vary pictures are told it: Ramesh et al.
2022, "Hierarchical text-conditional image generation with CLIP latents" (unCLIP), sec. 2; as in
Stability-AI/stablediffusion, ldm/modules/encoders/modules.py and diffusionmodules/upscaling.py.

B batch, E width of the embedding.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from .vision import VisionConfig, VisionEncoder

LEVELS = 1000


class NoiseAugmentor(nn.Module):
    """mean, std   (1, E) of the embeddings of pictures, as a table of one row each; 0 and 1 where
    the model was trained without them"""

    __call__: Callable[..., Tensor]

    def __init__(self, width: int) -> None:
        super().__init__()
        self.mean, self.std = nn.Embedding(1, width), nn.Embedding(1, width)
        nn.init.zeros_(self.mean.weight)
        nn.init.ones_(self.std.weight)

    def forward(self, embedding: Tensor, level: int, normals: Tensor) -> Tensor:
        """embedding (1 or B, E), normals (B, E) -> (B, E), noised where its numbers are of mean 0
        and deviation 1.

        z_level = sqrt(a) z + sqrt(1 - a) noise,  z = (embedding - mean) / std
        """
        mean, std, a = self.mean.weight, self.std.weight, alphas_cumprod(LEVELS)[level]
        z = (embedding - mean) / std
        return (math.sqrt(a) * z + math.sqrt(1 - a) * normals) * std + mean


def alphas_cumprod(levels: int) -> list[float]:
    """The cosine schedule. Nichol and Dhariwal 2021, "Improved denoising diffusion probabilistic
    models", eq. 17: a(t) = cos^2(pi/2 (t + s) / (1 + s)), s = 0.008, with no beta above 0.999."""

    def a(t: float) -> float:
        return math.cos(math.pi / 2 * (t + 0.008) / 1.008) ** 2

    betas = [min(1 - a((i + 1) / levels) / a(i / levels), 0.999) for i in range(levels)]
    product: Tensor = (1 - torch.tensor(betas, dtype=torch.float64)).cumprod(0)
    return product.tolist()


def seeing(vision: VisionConfig) -> dict[str, nn.Module]:
    """The networks of a model that is told what a vision tower sees, by their names."""
    return {"vision": VisionEncoder(vision), "augmentor": NoiseAugmentor(vision.projection)}
