"""Channels beside the latent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from torch import Tensor

from ...conditioning import Conditioning


def beside(
    branches: Sequence[Conditioning], concat: Tensor, pictures: Sequence[int]
) -> list[Conditioning]:
    """The branches, all with the same channels. concat: (N, C', h, w) of all the N pictures of a
    batch, of which the branches have rows for some; or (1, C', h, w)."""
    rows = concat.expand(len(pictures), -1, -1, -1) if len(concat) == 1 else concat[list(pictures)]
    return [replace(branch, concat=rows.to(branch.context.dtype)) for branch in branches]
