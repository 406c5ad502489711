"""The noise of other programs, so that their pictures can be drawn again from the same seed.

    noise = CompatNoise(NOISES["a1111"], seeds, sigmas)

in the place of `Noise(seeds)`. What they draw is in NOISES, a row each; that they draw on NVIDIA's
GPUs is assumed where they leave it to the machine.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
from torch import Tensor

from ..samplers.noise import Noise
from .brownian import Stream, TorchsdePath
from .philox import Philox


def cpu(seed: int, dtype: torch.dtype = torch.float32) -> Stream:
    """What torch draws on the CPU. (In 16 bits these are other numbers, not the same rounded.)"""
    generator = torch.Generator().manual_seed(seed)
    return lambda shape: torch.randn(tuple(shape), generator=generator, dtype=dtype)


def cuda(seed: int) -> Stream:
    """What torch draws on an NVIDIA GPU."""
    return Philox(seed).randn


@dataclass(frozen=True)
class NoiseSource:
    """Where a program takes its noise from.

    first             the noise that sampling starts from
    later             what is added after it; None: the first stream goes on
    path              the numbers a Brownian path is made of; None: its increments are drawn like
                      all other noise
    per_image         each picture has its own seed; otherwise the whole batch is drawn at once from
                      the seed of its first picture, so that a picture depends on its place in the
                      batch, and but for the first noise on the size of the batch
    in_model_dtype    whether it is drawn in the network's dtype, on the CPU; else in float32
    sample_posterior  whether the latent of a picture is sampled from the VAE's posterior: "once"
                      for all, by the first draw of all; or "each", by a stream of its own, on the
                      CPU; None: it is the mean
    """

    first: Callable[[int], Stream]
    later: Callable[[int], Stream] | None
    path: Callable[[int], Stream] | None
    per_image: bool
    in_model_dtype: bool = False
    sample_posterior: Literal["once", "each"] | None = None


NOISES = {
    # its setting "RNG: GPU", which is the default, and "RNG: NV"
    "a1111": NoiseSource(first=cuda, later=None, path=cuda, per_image=True),
    # its setting "RNG: CPU"
    "a1111_cpu": NoiseSource(first=cpu, later=None, path=cpu, per_image=True),
    "comfyui": NoiseSource(first=cpu, later=cuda, path=cpu, per_image=False),
    # with a CPU generator, as its manual says
    "diffusers": NoiseSource(cpu, None, None, False, in_model_dtype=True, sample_posterior="once"),
    "compvis": NoiseSource(cuda, None, None, per_image=False, sample_posterior="each"),
}


class CompatNoise(Noise):
    """Noise from another program's source.

    sigmas        the list that will be sampled, whose ends a Brownian path has
    dtype         of the network
    noise_offset  how many draws of this shape to leave out first: CompVis's scripts go on with one
                  stream from batch to batch
    ensd          what is added to the seeds for all draws but the first, paths aside: A1111's "eta
                  noise seed delta"
    """

    def __init__(
        self,
        source: NoiseSource,
        seeds: Sequence[int],
        sigmas: Sequence[float],
        dtype: torch.dtype = torch.float32,
        noise_offset: int = 0,
        ensd: int = 0,
    ) -> None:
        super().__init__(seeds)
        self.source, self.sigmas, self._offset = source, sigmas, noise_offset
        self._roots = self.seeds if source.per_image else self.seeds[:1]
        first = partial(cpu, dtype=dtype) if source.in_model_dtype else source.first
        later = first if source.later is None else source.later
        self._next = self._later = [first(seed) for seed in self._roots]
        if ensd or source.later is not None:
            self._later = [later((seed + ensd) % 2**64) for seed in self._roots]
        self._trees: list[TorchsdePath] = []

    def __call__(self, x: Tensor) -> Tensor:
        """The next standard normals, shaped like x (B, C, H, W), on its device and in its dtype."""
        self._check(x)
        for stream in self._next * self._offset:
            stream(self._shape(x))
        self._offset = 0
        streams, self._next = self._next, self._later
        return self._joined([stream(self._shape(x)) for stream in streams]).to(x)

    def sample_posterior(self, x: Tensor) -> Tensor | None:
        """Called before all else. (B, C, H, W), or (1, C, H, W) for all, see `Noise`."""
        if self.source.sample_posterior is None:
            return None
        once = self.source.sample_posterior == "once"
        stream, count = (self._next[0], 1) if once else (cpu(self.seeds[0]), len(x))
        return stream((count, *x.shape[1:])).to(x)

    def of_picture(self, like: Tensor) -> Tensor:
        """diffusers goes on from it to the noise that sampling starts from; ComfyUI has a stream of
        its own for it, on the CPU, ten seeds before."""
        shape = 1, *like.shape[1:]
        if self.source.sample_posterior == "once":
            return self._next[0](shape).to(like)
        streams = [cpu((seed - 10) % 2**64) for seed in self._roots]
        return torch.cat([stream(shape) for stream in streams]).to(like)

    def path(self, x: Tensor, start: float, end: float) -> Tensor:
        """The normalised increment of `Noise.path`; where the source has no path, the next standard
        normals."""
        if self.source.path is None:
            return self(x)
        self._check(x)
        shape = self._shape(x)
        if not self._trees or self._trees[0].shape != shape:
            low, high = min(sigma for sigma in self.sigmas if sigma > 0), max(self.sigmas)
            path = self.source.path
            self._trees = [TorchsdePath(path, seed, shape, low, high) for seed in self._roots]
        return self._joined([tree(start, end) for tree in self._trees]).to(x)

    def _shape(self, x: Tensor) -> torch.Size:
        return x.shape[1:] if self.source.per_image else x.shape

    def _joined(self, parts: list[Tensor]) -> Tensor:
        return torch.stack(parts) if self.source.per_image else parts[0]
