"""Masks of what is inpainted, and the part of a picture that is drawn anew."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..runtime.warn import warn
from .files import rgb, to_tensor
from .saving import to_pil

if TYPE_CHECKING:
    from PIL.Image import Image

Box = tuple[int, int, int, int]  # left, top, right, bottom, as PIL counts
WHITE = [255 * (level >= 128) for level in range(256)]  # what each grey level counts as


def crop_and_resize(
    picture: Image, mask: Image, box: Box, size: tuple[int, int], fill: bool
) -> tuple[Tensor, Tensor]:
    """The box of a picture and of its mask, at another size. -> (1, 3, H, W) in [-1, 1] and
    (1, 1, H, W) of 0 and 1

    size: width and height. fill: what is inpainted is first filled from around it. A pixel of the
    smaller mask is 1 if any of those it stands for is.
    """
    from PIL.Image import Resampling

    image = to_tensor(picture.resize(size, Resampling.LANCZOS, box))
    smaller = torch.from_numpy(np.array(mask.resize(size, Resampling.BOX, box)))
    inside = (smaller > 0).float()[None, None]
    return fill_unknown(image, 1 - inside) if fill else image, inside


def to_mask(mask: Image | Tensor) -> Image:
    """A mask as people give it, in grey levels (PIL's mode L): white is inpainted.

    PIL's: a transparent one counts as its colours on black; if these are black all over, as its
    opacity (which is how AUTOMATIC1111's web UI reads masks). A tensor is (1, 1 or 3, H, W), of
    numbers in [0, 1], or in [-1, 1] if one of them is negative.
    """
    from PIL import ImageOps

    if isinstance(mask, Tensor):
        return from_tensor(mask)
    grey = rgb(mask, ground="black").convert("L")
    if not mask.has_transparency_data or grey.point(WHITE).getbbox() is not None:
        return grey
    alpha = ImageOps.exif_transpose(mask).convert("RGBA").getchannel("A")
    return alpha if alpha.getextrema() != (255, 255) else grey


def from_tensor(mask: Tensor) -> Image:
    bad = mask.ndim != 4 or mask.shape[0] != 1 or mask.shape[1] not in (1, 3)
    if bad or not (mask.is_floating_point() or mask.dtype == torch.bool):
        what = f"{tuple(mask.shape)} of {mask.dtype}"
        raise ValueError(f"a mask must be a tensor (1, 1 or 3, H, W) in [0, 1], not {what}")
    mask = mask.detach().float()
    if not mask.isfinite().all():
        raise ValueError("a mask must be of numbers in [0, 1]: this one has NaN or infinity")
    image = mask if (mask < 0).any() else 2 * mask - 1
    return to_pil(image.expand(1, 3, -1, -1))[0].convert("L")


def binarize_mask(mask: Image, size: tuple[int, int]) -> tuple[Image, Box]:
    """A mask of `to_mask`, of 0 and 255: white by half or more is inpainted. And the box that holds
    all of that. size: the picture's, to which a mask of another is scaled, with a warning."""
    from PIL.Image import Resampling

    if mask.size != size:
        ours, theirs = (f"{width} x {height}" for width, height in (mask.size, size))
        warn(f"the mask of {ours} is scaled to the picture's {theirs}")
        mask = mask.resize(size, Resampling.NEAREST)
    mask = mask.point(WHITE)
    box = mask.getbbox()
    if box is None:
        raise ValueError("the mask is black all over: paint white what is to be inpainted")
    return mask, box


def blur_mask(mask: Image, blur: float, feather: bool) -> Image:
    """A black and white mask with a soft edge `blur` pixels wide.

    The edge rises linearly from where the mask begins, so that what was black stays black; or, with
    feather, it is a Gaussian's, of this radius, and reaches to both sides.
    """
    from PIL import Image
    from PIL.ImageFilter import GaussianBlur, MinFilter

    if feather:
        return mask.filter(GaussianBlur(blur))
    total, width = np.asarray(mask, np.int64), max(1, round(blur))
    for _ in range(width - 1):
        mask = mask.filter(MinFilter(3))  # a pixel narrower on every side
        total = total + np.asarray(mask)
    return Image.fromarray((total // width).astype(np.uint8))


def edge_beside(margins: Sequence[int], blur: float) -> float:
    """How wide the soft edge is of what outpainting adds: so many pixels, and at most half of a
    margin; of a picture without margins 0."""
    return min([blur, *(margin / 2 for margin in margins if margin)]) if any(margins) else 0.0


def expand_box(box: Box, padding: int, aspect: float, size: tuple[int, int]) -> Box:
    """The box with `padding` pixels around it, widened to the aspect width / height, inside a
    picture of a size.

    >>> expand_box((40, 40, 50, 60), padding=5, aspect=1, size=(100, 100))
    (30, 35, 60, 65)
    >>> expand_box((0, 0, 10, 10), padding=5, aspect=2, size=(100, 100))
    (0, 0, 30, 15)
    """
    left, top = max(0, box[0] - padding), max(0, box[1] - padding)
    right, bottom = min(size[0], box[2] + padding), min(size[1], box[3] + padding)
    wide = min(size[0], max(right - left, round((bottom - top) * aspect)))
    high = min(size[1], max(bottom - top, round((right - left) / aspect)))
    left = min(max(0, (left + right - wide) // 2), size[0] - wide)
    top = min(max(0, (top + bottom - high) // 2), size[1] - high)
    return left, top, left + wide, top + high


def extend(picture: Image, left: int, right: int, top: int, bottom: int) -> tuple[Image, Image]:
    """A larger picture, its edge pixels carried outwards, and the mask of what is new: outpainting
    is inpainting."""
    from PIL import Image

    pixels = np.pad(np.asarray(picture), ((top, bottom), (left, right), (0, 0)), mode="edge")
    mask = Image.new("L", (pixels.shape[1], pixels.shape[0]), 255)
    mask.paste(0, (left, top, left + picture.width, top + picture.height))
    return Image.fromarray(pixels), mask


def fill_unknown(image: Tensor, known: Tensor) -> Tensor:
    """The unknown pixels of a picture filled smoothly from the known ones, by pull and push:
    Gortler et al. 1996, "The lumigraph".

    image (B, C, H, W); known (B or 1, 1, H, W), of 0 and 1. What a coarser picture knows, which is
    the mean of what is known there, is carried to the finer; the coarsest knows one colour.
    """
    height, width = image.shape[-2:]
    if bool(known.all()) or height * width == 1:
        return image
    size = math.ceil(height / 2), math.ceil(width / 2)
    share = F.adaptive_avg_pool2d(known, size)
    mean = F.adaptive_avg_pool2d(known * image, size) / share.clamp(min=1e-6)
    coarse = fill_unknown(mean, (share > 0).to(known))
    smooth = F.interpolate(coarse, (height, width), mode="bilinear", align_corners=False)
    return known * image + (1 - known) * smooth
