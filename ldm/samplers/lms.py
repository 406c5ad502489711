"""Linear multistep methods: integrate the polynomial through the last slopes d = (x - D) / sigma.

    x' = x + sum over j of w_j d_j
    w_j = the integral of the j-th Lagrange polynomial over sigma, from sigma to sigma'

One model call a step. The first step is Euler's, as there is no history; that leaves the whole of
order 2.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise

import numpy as np
from torch import Tensor

from .denoiser import Denoiser
from .noise import Noise
from .registry import Step, sampler


@sampler(order=2, label="LMS", starts_from_sigma=("diffusers",))
def lms(
    denoise: Denoiser, x: Tensor, sigmas: Sequence[float], noise: Noise, *, order: int = 4
) -> Iterator[Step]:
    """Adams and Bashforth's method on the levels of the list, polynomials in sigma. k-diffusion's
    `sample_lms`."""
    slopes: list[Tensor] = []
    for i, (sigma, sigma_next) in enumerate(pairwise(sigmas)):
        denoised = denoise(x, sigma)
        slopes = [(x - denoised) / sigma, *slopes[: order - 1]]
        weights = adams_bashforth(sigmas[i::-1][: len(slopes)], sigma_next, float)
        x = x + sum(w * d for w, d in zip(weights, slopes, strict=True))
        yield Step(i, sigma_next, x, denoised)


@sampler(order=2, label="DEIS", schedule="karras", schedules={"diffusers": "sgm_linspace"})
def deis(
    denoise: Denoiser, x: Tensor, sigmas: Sequence[float], noise: Noise, *, order: int = 3
) -> Iterator[Step]:
    """Diffusion exponential integrator sampler, Zhang & Chen 2023: as LMS, polynomials in log
    sigma.

    The paper's are in t (tAB-DEIS) or in sigma (rhoAB-DEIS, which is `lms`); those in log sigma are
    diffusers' (`solver_type="logrho"`). The step to 0 is Euler's.
    """
    slopes: list[Tensor] = []
    for i, (sigma, sigma_next) in enumerate(pairwise(sigmas)):
        denoised = denoise(x, sigma)
        slopes = [(x - denoised) / sigma, *slopes[: order - 1]]
        if sigma_next == 0:
            slopes = slopes[:1]
        weights = adams_bashforth(sigmas[i::-1][: len(slopes)], sigma_next, math.log)
        x = x + sum(w * d for w, d in zip(weights, slopes, strict=True))
        yield Step(i, sigma_next, x, denoised)


@sampler(
    order=2,
    label="PLMS",
    schedule="leading",
    in_training_steps=True,
    schedules={"a1111": "ddim_clipped", "compvis": "ddim_uniform"},
    ends_at_sigma_min=("a1111", "compvis", "diffusers"),
    extra_draws={"compvis": 1},
)
def plms(denoise: Denoiser, x: Tensor, sigmas: Sequence[float], noise: Noise) -> Iterator[Step]:
    """Pseudo linear multistep: Adams and Bashforth's weights of evenly spaced levels, on any
    levels. Liu et al. 2022 (PNDM).

    Here in sigma, where their transfer from level to level is a straight line. The first step is
    Heun's, so that n steps call the model n + 1 times; as in CompVis's sampler.
    """
    slopes: list[Tensor] = []
    for i, (sigma, sigma_next) in enumerate(pairwise(sigmas)):
        denoised = denoise(x, sigma)
        slopes = [(x - denoised) / sigma, *slopes[:3]]
        weights = PLMS_WEIGHTS[len(slopes) - 1]
        d = sum(w * d for w, d in zip(weights, slopes, strict=True))
        if i == 0 and sigma_next > 0:
            x_next = x + (sigma_next - sigma) * d
            d = (d + (x_next - denoise(x_next, sigma_next)) / sigma_next) / 2
        x = x + (sigma_next - sigma) * d
        yield Step(i, sigma_next, x, denoised)


PLMS_WEIGHTS = (
    (1.0,),
    (3 / 2, -1 / 2),
    (23 / 12, -16 / 12, 5 / 12),
    (55 / 24, -59 / 24, 37 / 24, -9 / 24),
)


def adams_bashforth(
    levels: Sequence[float], sigma_next: float, u: Callable[[float], float]
) -> list[float]:
    """The weights of the slopes at `levels` (newest first) in the step from levels[0] to
    sigma_next.

    Lagrange polynomials in u(sigma), integrated over sigma by Gauss and Legendre's rule.
    """
    nodes, shares = np.polynomial.legendre.leggauss(16)
    half = (sigma_next - levels[0]) / 2
    at = np.array([u(levels[0] + half * (1 + node)) for node in nodes])
    past = [u(level) for level in levels]
    weights = []
    for j, u_j in enumerate(past):
        others = [other for m, other in enumerate(past) if m != j]
        basis = np.prod([(at - other) / (u_j - other) for other in others], axis=0)
        weights.append(float(half * np.sum(shares * basis)))
    return weights
