"""Heun's method."""

from collections.abc import Iterator, Sequence
from itertools import pairwise

from torch import Tensor

from .denoiser import Denoiser
from .euler import churn
from .noise import Noise
from .registry import Step, sampler


@sampler(order=2, label="Heun")
def heun(
    denoise: Denoiser,
    x: Tensor,
    sigmas: Sequence[float],
    noise: Noise,
    *,
    s_churn: float = 0.0,
    s_tmin: float = 0.0,
    s_tmax: float = float("inf"),
    s_noise: float = 1.0,
) -> Iterator[Step]:
    """Heun's method: Euler's step, again with the mean of the slopes at both ends. Karras et al. 2022, algorithm 2.

    The last step, to sigma = 0, is Euler's: the slope there is 0/0. So n steps call the model 2n - 1 times.
    """
    for i, (sigma, target) in enumerate(pairwise(sigmas)):
        if s_tmin <= sigma <= s_tmax:
            x, sigma = churn(x, sigma, s_churn / (len(sigmas) - 1), s_noise, noise)
        denoised = denoise(x, sigma)
        d = (x - denoised) / sigma
        there = x + (target - sigma) * d
        if target > 0:
            d_there = (there - denoise(there, target)) / target
            there = x + (target - sigma) * (d + d_there) / 2
        x = there
        yield Step(i, target, x, denoised)
