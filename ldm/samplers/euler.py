"""Euler's method, plain and ancestral, and the two ways of adding noise that other samplers share."""

from collections.abc import Iterator, Sequence
from itertools import pairwise

from torch import Tensor

from .denoiser import Denoiser
from .noise import Noise
from .registry import Step, sampler


@sampler(order=1, label="Euler")
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
    """Euler's method on the probability flow  dx/dsigma = (x - D(x, sigma)) / sigma.  Karras et al. 2022, eq. 3.

    The s_ options are those of `churn`; with s_churn = 0 nothing is drawn.
    """
    for i, (sigma, target) in enumerate(pairwise(sigmas)):
        if s_tmin <= sigma <= s_tmax:
            x, sigma = churn(x, sigma, s_churn / (len(sigmas) - 1), s_noise, noise)
        denoised = denoise(x, sigma)
        d = (x - denoised) / sigma
        x = x + (target - sigma) * d
        yield Step(i, target, x, denoised)


@sampler(order=1, stochastic=True, label="Euler a")
def euler_ancestral(
    denoise: Denoiser,
    x: Tensor,
    sigmas: Sequence[float],
    noise: Noise,
    *,
    eta: float = 1.0,
    s_noise: float = 1.0,
) -> Iterator[Step]:
    """Euler's method to a level below the target, then noise up to it: the split of `ancestral`.

    With eta = 1 this is the ancestral sampling of Ho et al. 2020, algorithm 2, written in sigma.
    """
    for i, (sigma, target) in enumerate(pairwise(sigmas)):
        denoised = denoise(x, sigma)
        d = (x - denoised) / sigma
        down, up = ancestral(sigma, target, eta)
        x = x + (down - sigma) * d
        if up > 0:
            x = x + s_noise * up * noise(x)
        yield Step(i, target, x, denoised)


def ancestral(sigma: float, target: float, eta: float) -> tuple[float, float]:
    """(down, up) with down^2 + up^2 = target^2: go down to `down` without noise, then add noise of `up`.

    eta = 1 gives the posterior of the forward process, up^2 = target^2 (sigma^2 - target^2) / sigma^2, eta = 0 no
    noise at all. Ho et al. 2020, eq. 7, and Song et al. 2021 (DDIM), eq. 16, divided by sqrt(a).
    """
    up = min(target, eta * target * (1 - (target / sigma) ** 2) ** 0.5)
    return (target**2 - up**2) ** 0.5, up


def churn(x: Tensor, sigma: float, amount: float, s_noise: float, noise: Noise) -> tuple[Tensor, float]:
    """Raise the noise level to sigma (1 + gamma), gamma = min(amount, sqrt(2) - 1), before a step.

    `amount` is S_churn over the number of steps, s_noise the scale of the new noise. A sampler does this where
    S_tmin <= sigma <= S_tmax. Karras et al. 2022, algorithm 2, lines 4-6.
    """
    if amount == 0:
        return x, sigma
    raised = sigma * (1 + min(amount, 2**0.5 - 1))
    return x + s_noise * (raised**2 - sigma**2) ** 0.5 * noise(x), raised
