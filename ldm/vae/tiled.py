"""Encoding and decoding in tiles: a picture of any size in the memory of one tile.

A tile lacks what lies beyond its edges, and normalises its feature maps by its own statistics, so that the result is
close to the whole picture's, not equal; overlapping tiles hide what difference there is.
"""

from torch import Tensor

from ..tiles import in_tiles
from .model import VAE


def tiled_encode(vae: VAE, images: Tensor, tile: int, overlap: int) -> Tensor:
    """`vae.encode(images)` in tiles of `tile` pixels; both lengths in pixels, multiples of the VAE's factor."""
    check(vae, tile, overlap)
    return in_tiles(vae.encode, images, tile, overlap, 1 / vae.factor)


def tiled_decode(vae: VAE, latents: Tensor, tile: int, overlap: int) -> Tensor:
    """`vae.decode(latents)` in tiles of `tile` pixels; both lengths in pixels, multiples of the VAE's factor."""
    check(vae, tile, overlap)
    return in_tiles(vae.decode, latents, tile // vae.factor, overlap // vae.factor, vae.factor)


def check(vae: VAE, tile: int, overlap: int) -> None:
    for length in (tile, overlap):
        if length % vae.factor:
            raise ValueError(f"tiles of {tile} that overlap by {overlap}: give multiples of {vae.factor}")
