"""Linear multistep methods: integrate the polynomial through the last slopes d = (x - D) / sigma.

    x' = x + sum over j of w_j d_j,   w_j = integral over sigma from sigma to sigma' of the j-th Lagrange polynomial

One model call a step. The first step is Euler's, as there is no history; that leaves the whole of order 2.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise

import numpy as np
from torch import Tensor

from .denoiser import Denoiser
from .noise import Noise
from .registry import Step, sampler


@sampler(order=2, label="LMS")
def lms(denoise: Denoiser, x: Tensor, sigmas: Sequence[float], noise: Noise, *, order: int = 4) -> Iterator[Step]:
    """Adams and Bashforth's method on the levels of the list, polynomials in sigma. k-diffusion's `sample_lms`."""
    slopes: list[Tensor] = []
    for i, (sigma, target) in enumerate(pairwise(sigmas)):
        denoised = denoise(x, sigma)
        slopes = [(x - denoised) / sigma, *slopes[: order - 1]]
        weights = adams_bashforth(sigmas[i::-1][: len(slopes)], target, float)
        x = x + sum(w * d for w, d in zip(weights, slopes, strict=True))
        yield Step(i, target, x, denoised)


@sampler(order=2, label="DEIS", schedule="karras")
def deis(denoise: Denoiser, x: Tensor, sigmas: Sequence[float], noise: Noise, *, order: int = 3) -> Iterator[Step]:
    """Diffusion exponential integrator sampler: as LMS, the polynomials in log sigma. Zhang & Chen 2023, eq. 15.

    (With polynomials in sigma, their rho-AB-DEIS, it would be LMS.) The step to 0 is Euler's.
    """
    slopes: list[Tensor] = []
    for i, (sigma, target) in enumerate(pairwise(sigmas)):
        denoised = denoise(x, sigma)
        slopes = [(x - denoised) / sigma, *slopes[: order - 1]]
        if target == 0:
            slopes = slopes[:1]
        weights = adams_bashforth(sigmas[i::-1][: len(slopes)], target, math.log)
        x = x + sum(w * d for w, d in zip(weights, slopes, strict=True))
        yield Step(i, target, x, denoised)


@sampler(order=2, label="PLMS", schedule="leading")
def plms(denoise: Denoiser, x: Tensor, sigmas: Sequence[float], noise: Noise) -> Iterator[Step]:
    """Pseudo linear multistep: Adams and Bashforth's weights of evenly spaced levels, on any levels. Liu et al. 2022.

    Eq. 12 for the weights, in sigma (where the transfer of eq. 11 is a straight line). The first step is Heun's, so
    that n steps call the model n + 1 times; as in CompVis's sampler.
    """
    slopes: list[Tensor] = []
    for i, (sigma, target) in enumerate(pairwise(sigmas)):
        denoised = denoise(x, sigma)
        slopes = [(x - denoised) / sigma, *slopes[:3]]
        weights = PLMS_WEIGHTS[len(slopes) - 1]
        d = sum(w * d for w, d in zip(weights, slopes, strict=True))
        if i == 0 and target > 0:
            there = x + (target - sigma) * d
            d = (d + (there - denoise(there, target)) / target) / 2
        x = x + (target - sigma) * d
        yield Step(i, target, x, denoised)


PLMS_WEIGHTS = (
    (1.0,),
    (3 / 2, -1 / 2),
    (23 / 12, -16 / 12, 5 / 12),
    (55 / 24, -59 / 24, 37 / 24, -9 / 24),
)


def adams_bashforth(levels: Sequence[float], target: float, u: Callable[[float], float]) -> list[float]:
    """The weights of the slopes at `levels` (newest first) in the step from levels[0] to target.

    Lagrange polynomials in u(sigma), integrated over sigma by Gauss and Legendre's rule.
    """
    nodes, shares = np.polynomial.legendre.leggauss(16)
    half = (target - levels[0]) / 2
    at = np.array([u(levels[0] + half * (1 + node)) for node in nodes])
    past = [u(level) for level in levels]
    weights = []
    for j, own in enumerate(past):
        basis = np.prod([(at - other) / (own - other) for m, other in enumerate(past) if m != j], axis=0)
        weights.append(float(half * np.sum(shares * basis)))
    return weights
