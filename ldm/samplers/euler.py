"""Euler's method, plain and ancestral."""

from collections.abc import Iterator, Sequence
from itertools import pairwise

from torch import Tensor

from .denoiser import Denoiser
from .noise import Noise
from .registry import Step, sampler
from .steps import ancestral, churn


@sampler(order=1, label="Euler", starts_from_sigma=("diffusers",))
def euler(
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
    """Euler's method on the probability flow  dx/dsigma = (x - D(x, sigma)) / sigma.  Karras et al.
    2022, eq. 1 and 3.

    The s_ options are those of `churn`; with s_churn = 0 nothing is drawn.
    """
    for i, (sigma, sigma_next) in enumerate(pairwise(sigmas)):
        x, sigma = churn(x, sigma, noise, s_churn / (len(sigmas) - 1), s_tmin, s_tmax, s_noise)
        denoised = denoise(x, sigma)
        d = (x - denoised) / sigma
        x = x + (sigma_next - sigma) * d
        yield Step(i, sigma_next, x, denoised)


@sampler(order=1, stochastic=True, label="Euler a", starts_from_sigma=("diffusers",))
def euler_ancestral(
    denoise: Denoiser,
    x: Tensor,
    sigmas: Sequence[float],
    noise: Noise,
    *,
    eta: float = 1.0,
    s_noise: float = 1.0,
) -> Iterator[Step]:
    """Euler's method to a level below the next, then noise up to it: the split of `ancestral`.

    With eta = 1 this is the ancestral sampling of Ho et al. 2020, algorithm 2, written in sigma.
    """
    for i, (sigma, sigma_next) in enumerate(pairwise(sigmas)):
        denoised = denoise(x, sigma)
        d = (x - denoised) / sigma
        sigma_down, sigma_up = ancestral(sigma, sigma_next, eta)
        x = x + (sigma_down - sigma) * d
        if sigma_up > 0:
            x = x + s_noise * sigma_up * noise(x)
        yield Step(i, sigma_next, x, denoised)
