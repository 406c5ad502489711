"""Tokens that count for more or less than others, in what a text encoder has made of them."""

from collections.abc import Sequence

import torch
from torch import Tensor

from .chunks import Chunk


def token_weights(chunks: Sequence[Chunk], z: Tensor) -> Tensor:
    """How much each token of B chunks counts; start, end and padding count 1. For z (B, L, D):
    (B, L)"""
    weights = torch.ones(z.shape[:2])
    for row, chunk in zip(weights, chunks):
        row[1 : len(chunk) + 1] = torch.tensor([weight for _, weight in chunk])
    return weights.to(z)


def weight_tokens(z: Tensor, weights: Tensor, empty: Tensor | None = None) -> Tensor:
    """Let some tokens count for more. z (B, L, D), weights (B, L) -> (B, L, D)

    A1111's way: w z, rescaled so that a chunk keeps the mean of its numbers. (A1111 takes one mean
    for all the texts that a prompt goes through; here each has its own, so that no text depends on
    another.) ComfyUI's way, given the empty prompt's z (1, L, D): empty + w (z - empty).
    """
    weights = weights[..., None]
    if empty is not None:
        return torch.lerp(empty, z, weights)
    wide = torch.promote_types(z.dtype, torch.float32)
    before = z.mean((1, 2), keepdim=True, dtype=wide)
    z = z * weights
    after = z.mean((1, 2), keepdim=True, dtype=wide)
    return z * torch.where(after == 0, 1, before / after).to(z.dtype)
