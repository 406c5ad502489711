"""From a picture to its latents; a method of LatentDiffusion."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..images.files import rgb, to_tensor
from ..runtime.checks import numbers
from ..vae.tiled import tiled_encode

if TYPE_CHECKING:
    from PIL.Image import Image

    from .model import LatentDiffusion


@torch.no_grad()
def encode(
    model: LatentDiffusion,
    images: Tensor | Image,
    tile: int | None = None,
    axes: str | None = None,
    noise: Tensor | None = None,
) -> Tensor:
    """(B, 3, H, W) in [-1, 1], or PIL's picture -> latents, float32.

    tile, axes  `tile` and `seamless` of a Request
    noise       see `VAE.encode`; of one image several latents may be picked, but not in tiles
    """
    images, run = pictures(images, model.vae.factor), partial(model.vae.encode, noise=noise)
    tile = model.memory.tile if tile is None and model.memory is not None else tile
    if tile is not None:
        run = partial(tiled_encode, model.vae, tile=tile)
    return model.one_by_one(run, images, axes, "encoding the image")


def pictures(given: Tensor | Image, factor: int) -> Tensor:
    """What is to be encoded, as (B, 3, H, W); ValueError if it cannot be, by a VAE that makes
    latents smaller by that factor."""
    if not isinstance(given, Tensor) and hasattr(given, "convert"):
        given = to_tensor(rgb(given))
    numbers(given, "images", (None, 3, None, None))
    assert isinstance(given, Tensor)
    height, width = given.shape[2:]
    if height % factor or width % factor:
        what = f"an image of {width} x {height}: give sides that are multiples of {factor}"
        raise ValueError(what)
    return given
