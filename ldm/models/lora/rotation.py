"""Weights that are rotated: OFT and BOFT."""

from collections.abc import Mapping

import torch
from torch import Tensor


def rotation(w: Tensor, p: Mapping[str, Tensor], alpha: float | None) -> Tensor:
    """dW = g R W - W, with a gain g for each output, if there is one (`rescale`).

    oft_blocks (n, b, b)       OFT. Qiu et al. 2023, "Controlling text-to-image diffusion by
                               orthogonal finetuning", sec. 4: R is of n blocks along the diagonal
    boft_blocks (m, n, b, b)   BOFT. Liu et al. 2023, "Parameter-efficient orthogonal finetuning via
                               butterfly factorization", eq. 4: m such, between permutations

    alpha times the number of outputs limits the length of all Q together, as kohya and LyCORIS
    have it; 0 or none is no limit.
    """
    limit = alpha * len(w) if alpha else None
    if "boft_blocks" in p:
        turned = butterfly(w, orthogonal(p["boft_blocks"], limit))
    else:
        blocks = orthogonal(p["oft_blocks"], limit)
        # The programs multiply rows of outputs by R from the right: on W it acts transposed.
        inside = w.reshape(*blocks.shape[:2], *w.shape[1:])  # (n, b, I, ...)
        turned = torch.einsum("kij, ki... -> kj...", blocks, inside).flatten(0, 1)
    if "rescale" in p:
        turned = turned * p["rescale"].reshape(len(w), *[1] * (w.dim() - 1))
    return turned - w


def orthogonal(blocks: Tensor, limit: float | None) -> Tensor:
    """Cayley's transform of each block (..., b, b): Q = B - B^T, R = (I + Q) (I - Q)^-1. limit: of
    the length of all Q together."""
    q = blocks - blocks.mT
    if limit is not None:
        q = q * (limit / q.norm()).clamp(max=1)
    one = torch.eye(q.shape[-1], dtype=q.dtype, device=q.device)
    inverse: Tensor = torch.linalg.inv(one - q)
    return (one + q) @ inverse


def butterfly(w: Tensor, factors: Tensor) -> Tensor:
    """factors (m, n, b, b): factor i turns outputs that lie 2^i b / 2 apart."""
    b, rest = factors.shape[-1], w.shape[1:]
    for i, blocks in enumerate(factors):
        apart = 2**i * (b // 2)
        w = w.reshape(-1, 2, apart, *rest).transpose(1, 2).reshape(-1, b, *rest)
        w = torch.einsum("kij, kj... -> ki...", blocks, w)
        w = w.reshape(-1, apart, 2, *rest).transpose(1, 2).reshape(-1, *rest)
    return w
