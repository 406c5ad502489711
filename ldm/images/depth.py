"""Depth maps: how near everything in a picture is."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from ..runtime.text import one_line
from .files import opened

if TYPE_CHECKING:
    from PIL.Image import Image


def open_depth(path: str | Path) -> Tensor:
    """A depth map in a file: a grey picture of 8 or 16 bits, or an array (H, W) of numpy's (.npy).
    Lighter, or greater, is nearer, as MiDaS has it (inverse depth); the unit does not matter.

    -> see `depth_map`
    """
    if Path(path).suffix.lower() != ".npy":
        with opened(path) as image:
            return depth_map(image)
    if not Path(path).is_file():
        raise ValueError(f"there is no depth map {str(path)!r}")
    try:
        array = np.lib.format.open_memmap(path, mode="r")  # which unpickles nothing
        if array.dtype.kind not in "biuf":
            raise ValueError(f"it is of {array.dtype}, and not of real numbers")
        return depth_map(torch.from_numpy(array.astype(np.float32)))
    except Exception as error:  # a header may ask for any size, or be no Python at all
        line = one_line(" ".join(str(error).split()), 300)
        raise ValueError(f"{str(path)!r} cannot be read as a depth map: {line}") from None


def depth_map(given: Image | Tensor) -> Tensor:
    """A depth map as people give it: PIL's, of which the grey levels count, or a tensor whose last
    two sides are H and W. -> (1, 1, H, W) float32, greater is nearer"""
    near = given if isinstance(given, Tensor) else grey_levels(given)
    if near.ndim < 2 or near.shape[:-2].numel() != 1 or near.is_complex():
        shape = tuple(near.shape)
        raise ValueError(f"a depth map must be of one grey level a pixel, (H, W), not {shape}")
    near = near.detach().float().reshape(1, 1, *near.shape[-2:])
    if near.numel() == 0 or not near.isfinite().all():
        raise ValueError("a depth map must be of finite numbers: this one has NaN or infinity")
    if near.max() == near.min():
        raise ValueError("the depth map is of one grey all over: it tells nothing near from far")
    return near


def grey_levels(image: Image) -> Tensor:
    """(H, W) float32, turned as the EXIF orientation says; 16 bits and fractions as they are."""
    from PIL import Image, ImageOps

    if not isinstance(image, Image.Image):
        what = type(image).__name__
        what += ": torch.from_numpy(array) makes one" if isinstance(image, np.ndarray) else ""
        raise ValueError(f"a depth map must be a file, one of PIL's or a tensor, not {what}")
    image = ImageOps.exif_transpose(image)
    if not image.mode.startswith(("I", "F")):
        image = image.convert("L")
    return torch.from_numpy(np.array(image).astype(np.float32))
