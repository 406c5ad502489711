"""The noise of other programs, so that their pictures can be drawn again from the same seed.

    noise = ForeignNoise(NOISES["a1111"], seeds, sigmas)

in the place of `Noise(seeds)`. What they draw is in NOISES, a row each; that they draw on NVIDIA's GPUs is assumed
where they leave it to the machine.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from .noise import Noise
from .philox import Philox

Stream = Callable[[Sequence[int]], Tensor]  # the next standard normals, of a shape


def cpu(seed: int, dtype: torch.dtype = torch.float32) -> Stream:
    """What torch draws on the CPU. (Narrower numbers are others, not the same ones rounded.)"""
    generator = torch.Generator().manual_seed(seed)
    return lambda shape: torch.randn(tuple(shape), generator=generator, dtype=dtype)


def cuda(seed: int) -> Stream:
    """What torch draws on an NVIDIA GPU."""
    return Philox(seed).randn


@dataclass(frozen=True)
class Convention:
    """Where a program takes its noise from.

    first  the noise that sampling starts from
    later  what is added after it; None: the first stream goes on
    path   the numbers a Brownian path is made of; None: its increments are drawn like all other noise
    alone  each picture has its own seed; otherwise the whole batch is drawn at once from the seed of its first picture,
           so that a picture depends on its place in the batch, and but for the first noise on the size of the batch
    narrow whether it is drawn in the number format of the network, on the CPU; else in float32
    picked whether noise picks the latent of a picture from the VAE's posterior: "once" for all, by the first draw of
           all; or "each", by a stream of its own, on the CPU; None: it is the mean
    """

    first: Callable[[int], Stream]
    later: Callable[[int], Stream] | None
    path: Callable[[int], Stream] | None
    alone: bool
    narrow: bool = False
    picked: Literal["once", "each"] | None = None


NOISES = {
    "a1111": Convention(first=cuda, later=None, path=cuda, alone=True),  # RNG: GPU, which is the default, and RNG: NV
    "a1111_cpu": Convention(first=cpu, later=None, path=cpu, alone=True),  # RNG: CPU
    "comfyui": Convention(first=cpu, later=cuda, path=cpu, alone=False),
    # with a CPU generator, as its manual says
    "diffusers": Convention(first=cpu, later=None, path=None, alone=False, narrow=True, picked="once"),
    "compvis": Convention(first=cuda, later=None, path=None, alone=False, picked="each"),
}


class ForeignNoise(Noise):
    """Noise by another program's convention.

    sigmas  the list that will be sampled, whose ends a Brownian path has
    dtype   of the network
    skip    how many draws of this shape to leave out first: CompVis's scripts go on with one stream from batch to batch
    shift   what is added to the seeds for all draws but the first, paths aside: A1111's "eta noise seed delta"
    """

    def __init__(
        self,
        convention: Convention,
        seeds: Sequence[int],
        sigmas: Sequence[float],
        dtype: torch.dtype = torch.float32,
        skip: int = 0,
        shift: int = 0,
    ) -> None:
        super().__init__(seeds)
        self.convention, self.sigmas, self._skip = convention, sigmas, skip
        self._roots = self.seeds if convention.alone else self.seeds[:1]
        first = partial(cpu, dtype=dtype) if convention.narrow else convention.first
        later = first if convention.later is None else convention.later
        self._next = self._later = [first(seed) for seed in self._roots]
        if shift or convention.later is not None:
            self._later = [later((seed + shift) % 2**64) for seed in self._roots]
        self._trees: list[TorchsdePath] = []

    def __call__(self, x: Tensor) -> Tensor:
        """The next standard normals, shaped like x (B, C, H, W), on its device and in its dtype."""
        self._check(x)
        for stream in self._next * self._skip:
            stream(self._shape(x))
        self._skip = 0
        streams, self._next = self._next, self._later
        return self._joined([stream(self._shape(x)) for stream in streams]).to(x)

    def posterior(self, x: Tensor) -> Tensor | None:
        """Called before all else. (B, C, H, W), or (1, C, H, W) for all, see `Noise.posterior`."""
        if self.convention.picked is None:
            return None
        once = self.convention.picked == "once"
        stream, count = (self._next[0], 1) if once else (cpu(self.seeds[0]), len(x))
        return stream((count, *x.shape[1:])).to(x)

    def path(self, x: Tensor, start: float, end: float) -> Tensor:
        """The normalised increment of `Noise.path`; where the convention has no path, the next standard normals."""
        if self.convention.path is None:
            return self(x)
        self._check(x)
        if not self._trees or self._trees[0].shape != self._shape(x):
            ends = min(sigma for sigma in self.sigmas if sigma > 0), max(self.sigmas)
            self._trees = [TorchsdePath(self.convention.path, seed, self._shape(x), *ends) for seed in self._roots]
        return self._joined([tree(start, end) for tree in self._trees]).to(x)

    def _shape(self, x: Tensor) -> torch.Size:
        return x.shape[1:] if self.convention.alone else x.shape

    def _joined(self, parts: list[Tensor]) -> Tensor:
        return torch.stack(parts) if self.convention.alone else parts[0]


class TorchsdePath:
    """Normalised increments of a Brownian path W on [low, high], to the bit those of torchsde's BrownianTree as
    k-diffusion calls it.

    [low, high] is halved again and again, all ends being rounded to DECIMALS; with z from numbers of its own the left
    half [a, m] of an interval [a, b] gets

        W(m) - W(a) = (m - a) / (b - a) (W(b) - W(a)) + sqrt((m - a) (b - m) / (b - a)) z

    and the right half what is left. An increment is the sum of the largest such intervals that make it up.
    """

    DECIMALS = 6

    def __init__(self, stream: Callable[[int], Stream], seed: int, shape: torch.Size, low: float, high: float) -> None:
        self.stream, self.seed, self.shape = stream, seed, shape
        low, high = single(low), single(high)
        self.low, self.high = round(low, self.DECIMALS), round(high, self.DECIMALS)
        self.whole = self._normal() * math.sqrt(high - low)
        self._recent = lru_cache(maxsize=64)(self._normal)

    def __call__(self, start: float, end: float) -> Tensor:
        """(W(end) - W(start)) / sqrt|start - end|, float32. (The sign of W is a matter of taste: see `Noise.path`.)"""
        start, end = single(start), single(end)
        a, b = (round(min(max(t, self.low), self.high), self.DECIMALS) for t in sorted((start, end)))
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
        """The increments, from left to right, of the intervals that make up [a, b], which lies within [low, high].

        w: the increment of [low, high] itself, the place-th interval at its depth.
        """
        if (a, b) == (low, high):
            yield w
            return
        middle = round(0.5 * (high + low), self.DECIMALS)
        inverse = 1 / (high - low)
        z = self._recent(place, depth)
        left = (middle - low) * w * inverse + math.sqrt((middle - low) * (high - middle) * inverse) * z
        if a < middle:
            yield from self._pieces(a, min(b, middle), low, middle, left, 2 * place, depth + 1)
        if b > middle:
            yield from self._pieces(max(a, middle), b, middle, high, w - left, 2 * place + 1, depth + 1)

    def _normal(self, *address: int) -> Tensor:
        """The standard normals of an interval; without an address, of the whole."""
        words = np.random.SeedSequence(self.seed, spawn_key=address, pool_size=24).generate_state(1)
        return self.stream(int(words[0]))(self.shape)


def single(number: float) -> float:
    """Rounded to single precision, in which the other programs keep their noise levels."""
    return float(np.float32(number))
