"""Randomness as an argument: every picture of a batch draws from its own seed, and from nothing
else.

All draws are float32, made on the CPU and then moved, so that neither the device nor the rest of
the batch changes a picture.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from .brownian import BrownianPath, on_grid


class Noise:
    """Standard normals for a batch of pictures, picture i from seeds[i] alone."""

    def __init__(self, seeds: Sequence[int]) -> None:
        """seeds: one for each picture, 0 <= seed < 2^64 (of which torch's CPU generator uses the
        lower 32 bits)."""
        for seed in seeds:
            if not 0 <= seed < 2**64:
                what = f"seed {seed} is out of range"
                raise ValueError(f"{what}: give a whole number from 0 to 2^64 - 1")
        self.seeds = list(seeds)
        self._generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        self._paths: list[BrownianPath] = []

    def __call__(self, x: Tensor) -> Tensor:
        """The next standard normal of each picture, shaped like x (B, C, H, W), on its device and
        in its dtype."""
        self._check(x)
        return torch.stack([torch.randn(x.shape[1:], generator=g) for g in self._generators]).to(x)

    def sample_posterior(self, x: Tensor) -> Tensor | None:
        """The standard normal, like x, that samples the latents of a picture from the VAE's
        posterior. None: they are its mean, so that a picture at strength 0 does not depend on the
        seed."""
        return None

    def of_picture(self, like: Tensor) -> Tensor:
        """Standard normals for a small picture (B, 3, h, w) that is to be made larger; or (1, 3, h,
        w) for all. Called before all else."""
        return self(like)

    def path(self, x: Tensor, start: float, end: float) -> Tensor:
        """The normalised increment  (W(start) - W(end)) / sqrt|start - end|  of each picture's own
        Brownian path W.

        start and end are noise levels; swapping them changes the sign. A standard normal like x,
        independent for intervals that do not overlap and rightly correlated for those that do;
        independent of all other draws.
        """
        self._check(x)
        if not self._paths or self._paths[0].shape != x.shape[1:]:
            self._paths = [BrownianPath(seed, x.shape[1:]) for seed in self.seeds]
        start, end = on_grid(start), on_grid(end)
        length = abs(start - end) or 1.0
        return torch.stack([(w(start) - w(end)) / math.sqrt(length) for w in self._paths]).to(x)

    def _check(self, x: Tensor) -> None:
        if len(x) != len(self.seeds):
            raise ValueError(
                f"a batch of {len(x)} with {len(self.seeds)} seeds: give one seed for each picture"
            )
