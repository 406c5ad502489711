"""Brownian motion over the noise levels, as a function of the seed."""

import math
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

# The greatest noise level of a path. Stable Diffusion's is 14.6, with zero terminal SNR 4518.
END = 2.0**14
DIGITS = 14  # binary digits kept of a noise level


def on_grid(sigma: float) -> float:
    """sigma in [0, END], rounded to DIGITS binary digits: two levels a 1e-4th apart are one to a
    Brownian path."""
    fraction, exponent = math.frexp(min(max(sigma, 0.0), END))
    return math.ldexp(round(fraction * 2**DIGITS), exponent - DIGITS)


class BrownianPath:
    """W(sigma) on [0, END] with W(0) = 0, a fixed function of the seed: a virtual Brownian tree.

    [0, END] is halved again and again. Where W is known at both ends of [a, b], Levy's bridge gives
    the middle:

        W((a + b) / 2) = (W(a) + W(b)) / 2 + sqrt(b - a) / 2 * z

    with a standard normal z that belongs to (seed, middle), whatever was asked before. Nothing
    needs to be stored but the way down to the last point. Gaines & Lyons 1997, sec. 3; Li et al.
    2020 (torchsde), sec. 4.
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
        return torch.from_numpy(
            np.random.Generator(bits).standard_normal(self.shape, dtype=np.float32)
        )
