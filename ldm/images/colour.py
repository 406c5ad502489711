"""The colours of pictures (B, 3, H, W) in [-1, 1]: luminance kept, drift undone."""

import torch
from torch import Tensor

LUMA = (0.299, 0.587, 0.114)  # of red, green and blue: ITU-R BT.601, JPEG's and PIL's


def luminance(images: Tensor) -> Tensor:
    """(B, 3, H, W) -> (B, 1, H, W)"""
    return (images * images.new_tensor(LUMA)[:, None, None]).sum(1, keepdim=True)


def with_luminance(images: Tensor, source: Tensor) -> Tensor:
    """The colours of `images`, at the luminance of `source` (1 or B, 3, H, W), exactly.

    Adding the same to red, green and blue changes the luminance alone. Where that leaves [-1, 1],
    the colour fades towards grey as far as it must, rather than be cut off, which would change the
    luminance.
    """
    grey = luminance(source)
    colour = images - luminance(images)  # of luminance 0
    room = torch.where(colour > 0, 1 - grey, 1 + grey) / colour.abs().clamp(min=1e-6)
    return grey + colour * room.amin(1, keepdim=True).clamp(0, 1)


def with_colours_of(images: Tensor, source: Tensor, where: Tensor | None = None) -> Tensor:
    """`images` with the mean and the spread that each channel has in `source` (1, 3, H, W).

    where (1, 1, H, W), of 0 and 1: the pixels to compare. Against the drift of repeated image to
    image. Reinhard et al. 2001, "Color transfer between images", eq. 10 (the mean) and 11 (the
    spread); there in the colour space l-alpha-beta, here on red, green and blue.
    """
    weight = torch.ones_like(source[:, :1]) if where is None else where
    if weight.sum() == 0:
        return images
    (mean, spread), (wanted, wanted_spread) = statistics(images, weight), statistics(source, weight)
    return ((images - mean) * (wanted_spread / spread.clamp(min=1e-3)) + wanted).clamp(-1, 1)


def statistics(images: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Weighted mean and standard deviation of each channel. -> two of (B, 3, 1, 1)"""
    total = weight.sum((2, 3), keepdim=True)
    mean = (weight * images).sum((2, 3), keepdim=True) / total
    return mean, ((weight * (images - mean).square()).sum((2, 3), keepdim=True) / total).sqrt()
