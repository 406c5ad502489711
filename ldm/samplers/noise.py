"""Randomness as an argument: every picture of a batch draws from its own seed, and from nothing else.

All draws are float32, made on the CPU and then moved, so that neither the device nor the rest of the batch changes a
picture.
"""

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor


class Noise:
    """Standard normals for a batch of pictures, picture i from seeds[i] alone."""

    def __init__(self, seeds: Sequence[int]) -> None:
        """seeds: one for each picture, 0 <= seed < 2^64 (of which torch's CPU generator uses the lower 32 bits)."""
        for seed in seeds:
            if not 0 <= seed < 2**64:
                raise ValueError(f"seed {seed} is out of range: give a whole number from 0 to 2^64 - 1")
        self.seeds = list(seeds)
        self._generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        self._paths: list[BrownianPath] = []

    def __call__(self, x: Tensor) -> Tensor:
        """The next standard normal of each picture, shaped like x (B, C, H, W), on its device and in its dtype."""
        self._check(x)
        return torch.stack([torch.randn(x.shape[1:], generator=g) for g in self._generators]).to(x)

    def posterior(self, x: Tensor) -> Tensor | None:
        """The standard normal that picks the latents of a picture, like x, from what the VAE says they may be. None:
        nothing does, they are the most likely ones; so that a picture at strength 0 does not depend on the seed."""
        return None

    def path(self, x: Tensor, start: float, end: float) -> Tensor:
        """The normalised increment  (W(start) - W(end)) / sqrt|start - end|  of each picture's own Brownian path W.

        start and end are noise levels; swapping them changes the sign. A standard normal like x, independent for
        intervals that do not overlap and rightly correlated for those that do; independent of all other draws.
        """
        self._check(x)
        if not self._paths or self._paths[0].shape != x.shape[1:]:
            self._paths = [BrownianPath(seed, x.shape[1:]) for seed in self.seeds]
        start, end = on_grid(start), on_grid(end)
        length = abs(start - end) or 1.0
        return torch.stack([(w(start) - w(end)) / math.sqrt(length) for w in self._paths]).to(x)

    def _check(self, x: Tensor) -> None:
        if len(x) != len(self.seeds):
            raise ValueError(f"a batch of {len(x)} with {len(self.seeds)} seeds: give one seed for each picture")


END = 2.0**14  # the greatest noise level of a path; Stable Diffusion's is 14.6, zero-terminal-SNR schedules reach 4518
DIGITS = 14  # binary digits kept of a noise level


def on_grid(sigma: float) -> float:
    """sigma in [0, END], rounded to DIGITS binary digits: two levels a 1e-4th apart are one to a Brownian path."""
    fraction, exponent = math.frexp(min(max(sigma, 0.0), END))
    return math.ldexp(round(fraction * 2**DIGITS), exponent - DIGITS)


class BrownianPath:
    """W(sigma) on [0, END] with W(0) = 0, a fixed function of the seed: a virtual Brownian tree.

    [0, END] is halved again and again. Where W is known at both ends of [a, b], Levy's bridge gives the middle:

        W((a + b) / 2) = (W(a) + W(b)) / 2 + sqrt(b - a) / 2 * z

    with a standard normal z that belongs to (seed, middle), whatever was asked before. Nothing needs to be stored but
    the way down to the last point. Gaines & Lyons 1997, sec. 3; Li et al. 2020 (torchsde), sec. 4.
    """

    def __init__(self, seed: int, shape: torch.Size) -> None:
        self.seed, self.shape = seed, shape
        ends = torch.zeros(shape), math.sqrt(END) * self._normal(END)
        self._way = [(0.0, ends[0], END, ends[1])]  # nested intervals: a, W(a), b, W(b)
        self._recent = lru_cache(maxsize=4)(self._descend)

    def __call__(self, sigma: float) -> Tensor:
        """W (C, H, W) at a point of the grid, float32."""
        return self._recent(sigma)

    def _descend(self, sigma: float) -> Tensor:
        while not self._way[-1][0] <= sigma <= self._way[-1][2]:
            self._way.pop()
        a, w_a, b, w_b = self._way[-1]
        while sigma not in (a, b):
            middle = (a + b) / 2
            w = (w_a + w_b) / 2 + math.sqrt(b - a) / 2 * self._normal(middle)
            a, w_a, b, w_b = (a, w_a, middle, w) if sigma <= middle else (middle, w, b, w_b)
            self._way.append((a, w_a, b, w_b))
        return w_a if sigma == a else w_b

    def _normal(self, point: float) -> Tensor:
        bits = np.random.SFC64((self.seed, *point.as_integer_ratio()))
        return torch.from_numpy(np.random.Generator(bits).standard_normal(self.shape, dtype=np.float32))
