"""Sampling of consistency models."""

from collections.abc import Iterator, Sequence
from itertools import pairwise

from torch import Tensor

from .denoiser import Denoiser
from .noise import Noise
from .registry import Step, sampler


@sampler(
    order=None, stochastic=True, label="LCM", schedule="sgm_uniform", schedules={"diffusers": "lcm"}
)
def lcm(
    denoise: Denoiser, x: Tensor, sigmas: Sequence[float], noise: Noise, *, s_noise: float = 1.0
) -> Iterator[Step]:
    """Jump to the clean latent and back to the next level:  x' = D + sigma' z.

    Song et al. 2023, algorithm 1; Luo et al. 2023 (LCM), algorithm 3. For models distilled so that
    D(x, sigma) is the end point of the probability flow instead of the mean of the clean latents:
    with those any number of steps is right. Luo's eq. 9 mixes 0.25 / ((10 t)^2 + 0.25) of x_t into
    D, so that D(x, 0) = x: less than a 1e-5th from t = 19 on, where `lcm`'s list of levels ends. It
    is left out here, as in k-diffusion's programs.
    """
    for i, (sigma, sigma_next) in enumerate(pairwise(sigmas)):
        denoised = denoise(x, sigma)
        x = denoised
        if sigma_next > 0:
            x = x + s_noise * sigma_next * noise(x)
        yield Step(i, sigma_next, x, denoised)
