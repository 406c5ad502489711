"""torchsde's Brownian paths, along which k-diffusion's SDE samplers draw their noise."""

import math
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

Stream = Callable[[Sequence[int]], Tensor]  # the next standard normals, of a shape


class TorchsdePath:
    """Normalised increments of a Brownian path W on [low, high], to the bit those of torchsde's
    BrownianTree as k-diffusion calls it.

    [low, high] is halved again and again, all ends being rounded to DECIMALS; with z from numbers
    of its own the left half [a, m] of an interval [a, b] gets

        W(m) - W(a) = (m - a) / (b - a) (W(b) - W(a)) + sqrt((m - a) (b - m) / (b - a)) z

    and the right half what is left. An increment is the sum of the largest such intervals that make
    it up.
    """

    DECIMALS = 6

    def __init__(
        self, stream: Callable[[int], Stream], seed: int, shape: torch.Size, low: float, high: float
    ) -> None:
        """stream: seed -> the standard normals of that seed."""
        self.stream, self.seed, self.shape = stream, seed, shape
        low, high = single(low), single(high)
        self.low, self.high = round(low, self.DECIMALS), round(high, self.DECIMALS)
        self.whole = self._normal() * math.sqrt(high - low)
        self._recent = lru_cache(maxsize=64)(self._normal)

    def __call__(self, start: float, end: float) -> Tensor:
        """(W(end) - W(start)) / sqrt|start - end|, float32. (`Noise.path` has the other sign.)"""
        start, end = single(start), single(end)
        a, b = (
            round(min(max(t, self.low), self.high), self.DECIMALS) for t in sorted((start, end))
        )
        if a == b:
            return torch.zeros(self.shape)
        pieces = self._pieces(a, b, self.low, self.high, self.whole)
        increment = next(pieces)
        for piece in pieces:
            increment = increment + piece
        length = (torch.tensor(end) - torch.tensor(start)).abs()
        return (increment if start < end else -increment) / length.sqrt()

    def _pieces(
        self, a: float, b: float, low: float, high: float, w: Tensor, place: int = 0, depth: int = 0
    ) -> Iterator[Tensor]:
        """The increments, from left to right, of the intervals that make up [a, b], which lies
        within [low, high].

        w: the increment of [low, high] itself, the place-th interval at its depth.
        """
        if (a, b) == (low, high):
            yield w
            return
        middle = round(0.5 * (high + low), self.DECIMALS)
        inverse = 1 / (high - low)
        spread = math.sqrt((middle - low) * (high - middle) * inverse)
        left = (middle - low) * w * inverse + spread * self._recent(place, depth)
        place, depth = 2 * place, depth + 1
        if a < middle:
            yield from self._pieces(a, min(b, middle), low, middle, left, place, depth)
        if b > middle:
            yield from self._pieces(max(a, middle), b, middle, high, w - left, place + 1, depth)

    def _normal(self, *address: int) -> Tensor:
        """The standard normals of an interval; without an address, of the whole."""
        words = np.random.SeedSequence(self.seed, spawn_key=address, pool_size=24).generate_state(1)
        return self.stream(int(words[0]))(self.shape)


def single(number: float) -> float:
    """Rounded to single precision, in which the other programs keep their noise levels."""
    return float(np.float32(number))
