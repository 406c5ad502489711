"""A glance at a latent without the VAE: one affine map from its channels to red, green and blue.

Neighbouring latents of a VAE differ almost as the mean colours of the patches that they stand for;
so a map fitted by least squares shows what is being drawn, at a thousandth of a decode's cost.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor


class LinearPreview:
    """Latents (B, Z, h, w) -> pictures (B, 3, h f, w f) in [-1, 1], float32.

    weight  (Z + 1, 3)   its last row is the constant
    factor  f            how much larger a picture is than its latent
    """

    def __init__(self, weight: Tensor, factor: int) -> None:
        self.weight, self.factor = weight, factor

    @classmethod
    def fit(cls, latents: Tensor, images: Tensor) -> "LinearPreview":
        """The map that comes nearest to pictures (B, 3, h f, w f), averaged over patches of f x f:
        linear least squares."""
        factor = images.shape[-1] // latents.shape[-1]
        means = F.avg_pool2d(images.double(), factor).permute(0, 2, 3, 1).flatten(0, 2)
        return cls(torch.linalg.lstsq(with_one(latents), means).solution.float(), factor)

    def __call__(self, latents: Tensor) -> Tensor:
        b, _, h, w = latents.shape
        colours = (with_one(latents).float() @ self.weight).reshape(b, h, w, 3).permute(0, 3, 1, 2)
        return F.interpolate(colours.clamp(-1, 1), scale_factor=self.factor, mode="bilinear")


def with_one(latents: Tensor) -> Tensor:
    """(B, Z, h, w) -> (B h w, Z + 1) float64, the last column 1"""
    return F.pad(latents.double().cpu().permute(0, 2, 3, 1).flatten(0, 2), (0, 1), value=1.0)


def linear_preview(
    encode: Callable[[Tensor], Tensor], decode: Callable[[Tensor], Tensor], side: int
) -> LinearPreview:
    """The map fitted to what a VAE makes of a field of soft colours, `side` pixels wide and high:
    one encode and one decode.

    encode  pictures (1, 3, side, side) in [-1, 1] -> latents;  decode  the way back
    """
    patches = torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    colours = F.interpolate(2 * patches - 1, size=(side, side), mode="bicubic").clamp(-1, 1)
    latents = encode(colours)
    return LinearPreview.fit(latents, decode(latents).cpu())
