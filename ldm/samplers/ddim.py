"""Denoising diffusion implicit models, which in sigma are Euler's method."""

from collections.abc import Iterator, Sequence
from itertools import pairwise

from torch import Tensor

from .denoiser import Denoiser
from .euler import euler_ancestral
from .noise import Noise
from .registry import Step, sampler


@sampler(
    order=1,
    label="DDIM",
    schedule="leading",
    in_training_steps=True,
    schedules={"a1111": "ddim_clipped", "compvis": "ddim_uniform"},
    ends_at_sigma_min=("a1111", "compvis", "diffusers"),
    extra_draws={"compvis": 0},
)
def ddim(
    denoise: Denoiser, x: Tensor, sigmas: Sequence[float], noise: Noise, *, eta: float = 0.0
) -> Iterator[Step]:
    """DDIM. Song et al. 2021, eq. 12 and 16:

        x_t' = sqrt(a') D + sqrt(1 - a' - s^2) e + s z
        s    = eta sqrt((1 - a') / (1 - a)) sqrt(1 - a / a')

    Here x = x_t / sqrt(a) and sigma^2 = (1 - a) / a. Divided by sqrt(a'), with e = (x - D) / sigma
    the direction and s / sqrt(a') = sigma_up the new noise, that is

        x' = D + sigma_down e + sigma_up z

    the ancestral Euler step, whose eta is the same eta. With eta = 0 (here the default) it is plain
    Euler, and nothing is drawn.
    """
    return euler_ancestral(denoise, x, sigmas, noise, eta=eta)


@sampler(
    order=1,
    stochastic=True,
    label="DDPM",
    schedule="leading",
    in_training_steps=True,
    schedules={"a1111": "ddim_clipped"},
)
def ddpm(denoise: Denoiser, x: Tensor, sigmas: Sequence[float], noise: Noise) -> Iterator[Step]:
    """The reverse of the forward Markov chain between the given levels, Ho et al. 2020, eq. 6 and
    7: DDIM, eta = 1."""
    return ddim(denoise, x, sigmas, noise, eta=1.0)


def ddim_inversion(denoise: Denoiser, x: Tensor, sigmas: Sequence[float]) -> Iterator[Step]:
    """DDIM run backwards: from a clean latent x to the noise at sigmas[0] that `ddim` leads back to
    x, nearly.

    Each step takes the slope at its lower end (Dhariwal & Nichol 2021, app. F; Mokady et al. 2023,
    sec. 3); the first, from sigma = 0, takes the one at its upper end, as there is none at 0.
    sigmas decreases, as for a sampler, and is walked from its end; the error falls as 1 / steps.
    """
    for i, (sigma, sigma_next) in enumerate(pairwise(sigmas[::-1])):
        level = sigma if sigma > 0 else sigma_next
        denoised = denoise(x, level)
        x = x + (sigma_next - sigma) * (x - denoised) / level
        yield Step(i, sigma_next, x, denoised)
