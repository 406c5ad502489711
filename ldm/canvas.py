"""The picture that sampling starts from: which part of it to repaint, and how the result goes back into it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from .colour import with_colours_of, with_luminance
from .images import to_pil, to_tensor

if TYPE_CHECKING:
    from PIL.Image import Image

Box = tuple[int, int, int, int]  # left, top, right, bottom, as PIL counts


@dataclass(frozen=True)
class Paste:
    """Where a repainted picture goes: into the box of `picture`, through `mask`, of the whole picture's size."""

    picture: Image
    mask: Image
    box: Box

    def __call__(self, repainted: Image) -> Image:
        """The picture, repainted where the mask is white; where it is black not a bit of it changes."""
        from PIL import Image
        from PIL.Image import Resampling

        size = self.box[2] - self.box[0], self.box[3] - self.box[1]
        patch = repainted if repainted.size == size else repainted.resize(size, Resampling.LANCZOS)
        result = self.picture.copy()
        result.paste(Image.composite(patch, self.picture.crop(self.box), self.mask.crop(self.box)), self.box[:2])
        return result


@dataclass(frozen=True)
class Canvas:
    """image           (1, 3, H, W) in [-1, 1]: what is encoded
    mask            (1, 1, H, W): 1 where to repaint, 0 where not; None: everywhere
    paste           how the result goes back into the picture that the image was cut from
    keep_luminance  whether the result takes its luminance from the image, and only the colour is new
    match_colours   whether the result takes the mean and spread of each channel from the image
    """

    image: Tensor
    mask: Tensor | None = None
    paste: Paste | None = None
    keep_luminance: bool = False
    match_colours: bool = False

    def finish(self, images: Tensor, truncate: bool = False) -> list[Image]:
        """Decoded pictures (B, 3, H, W) -> B finished ones. truncate: as in `to_pil`."""
        image = self.image.to(images)
        if self.match_colours:
            images = with_colours_of(images, image, None if self.mask is None else 1 - self.mask.to(images))
        if self.keep_luminance:
            images = with_luminance(images, image)
        pictures = to_pil(images, truncate)
        return pictures if self.paste is None else [self.paste(picture) for picture in pictures]


def cut(picture: Image, mask: Image, box: Box, size: tuple[int, int], fill: bool) -> tuple[Tensor, Tensor]:
    """The box of a picture and of its mask, at another size, as a `Canvas` has them.

    size: width and height. fill: what is to be repainted is first filled from around it. A pixel of the smaller mask is
    1 if any of those it stands for is.
    """
    from PIL.Image import Resampling

    image = to_tensor(picture.resize(size, Resampling.LANCZOS, box))
    smaller = torch.from_numpy(np.array(mask.resize(size, Resampling.BOX, box)))
    hole = (smaller > 0).float()[None, None]
    return filled(image, 1 - hole) if fill else image, hole


def black_and_white(mask: Image, size: tuple[int, int]) -> tuple[Image, Box]:
    """A mask as the drawing programs give it, brought to 0 and 255: repainted is what is white by half or more. And the
    box that holds all of it."""
    if mask.size != size:
        raise ValueError(f"a mask of {mask.width} x {mask.height} does not fit a picture of {size[0]} x {size[1]}")
    mask = mask.convert("L").point([255 * (value >= 128) for value in range(256)])
    box = mask.getbbox()
    if box is None:
        raise ValueError("the mask is black all over: paint white what is to be repainted")
    return mask, box


def softened(mask: Image, blur: float, feather: bool) -> Image:
    """A black and white mask with a soft edge `blur` pixels wide.

    The edge rises linearly from where the mask begins, so that what was black stays black; or, with feather, it is a
    Gaussian's, of this radius, and reaches to both sides.
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


def surroundings(box: Box, padding: int, aspect: float, size: tuple[int, int]) -> Box:
    """The box with `padding` pixels around it, widened to the aspect width / height, inside a picture of a size.

    >>> surroundings((40, 40, 50, 60), padding=5, aspect=1, size=(100, 100))
    (30, 35, 60, 65)
    >>> surroundings((0, 0, 10, 10), padding=5, aspect=2, size=(100, 100))
    (0, 0, 30, 15)
    """
    left, top = max(0, box[0] - padding), max(0, box[1] - padding)
    right, bottom = min(size[0], box[2] + padding), min(size[1], box[3] + padding)
    wide = min(size[0], max(right - left, round((bottom - top) * aspect)))
    high = min(size[1], max(bottom - top, round((right - left) / aspect)))
    left = min(max(0, (left + right - wide) // 2), size[0] - wide)
    top = min(max(0, (top + bottom - high) // 2), size[1] - high)
    return left, top, left + wide, top + high


def extended(picture: Image, left: int, right: int, top: int, bottom: int) -> tuple[Image, Image]:
    """A larger picture, its edge pixels carried outwards, and the mask of what is new: outpainting is inpainting."""
    from PIL import Image

    pixels = np.pad(np.asarray(picture), ((top, bottom), (left, right), (0, 0)), mode="edge")
    mask = Image.new("L", (pixels.shape[1], pixels.shape[0]), 255)
    mask.paste(0, (left, top, left + picture.width, top + picture.height))
    return Image.fromarray(pixels), mask


def filled(image: Tensor, known: Tensor) -> Tensor:
    """The unknown pixels of a picture filled smoothly from the known ones: pull and push. Gortler et al. 1996.

    image (B, C, H, W); known (B or 1, 1, H, W), of 0 and 1. What a coarser picture knows, which is the mean of what is
    known there, is carried to the finer; the coarsest knows one colour.
    """
    height, width = image.shape[-2:]
    if bool(known.all()) or height * width == 1:
        return image
    size = math.ceil(height / 2), math.ceil(width / 2)
    share = F.adaptive_avg_pool2d(known, size)
    coarse = filled(F.adaptive_avg_pool2d(known * image, size) / share.clamp(min=1e-6), (share > 0).to(known))
    smooth = F.interpolate(coarse, (height, width), mode="bilinear", align_corners=False)
    return known * image + (1 - known) * smooth
