"""Sampling of models distilled along the whole trajectory."""

import math
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import pairwise

from torch import Tensor

from .denoiser import Denoiser
from .noise import Noise
from .registry import Step, sampler
from .schedule import NoiseSchedule, scaled_linear_betas


@sampler(
    order=1,
    stochastic=True,
    label="TCD",
    schedule="lcm",
    in_training_steps=True,
    ends_at_sigma_min=("", "diffusers"),
)
def tcd(
    denoise: Denoiser,
    x: Tensor,
    sigmas: Sequence[float],
    noise: Noise,
    *,
    eta: float = 0.3,
    levels: Sequence[float] | None = None,
) -> Iterator[Step]:
    """Strategic stochastic sampling: jump below the next level, and back up to it with noise.

        x' = D + sigma_s e + sqrt(sigma'^2 - sigma_s^2) z,    s = floor((1 - eta) t')

    with e = (x - D) / sigma, t' the training step of sigma'. Zheng et al. 2024 (TCD), algorithm 2,
    where eta is gamma; its x_t is x / sqrt(1 + sigma^2). With eta = 0 it is DDIM, with eta = 1 the
    jump goes to the first training step, nearly as `lcm` does.

    levels: the noise levels of all training steps, t being an index; None: Stable Diffusion's.
    """
    if levels is None:
        levels = NoiseSchedule(scaled_linear_betas()).sigmas.tolist()
    for i, (sigma, sigma_next) in enumerate(pairwise(sigmas)):
        denoised = denoise(x, sigma)
        sigma_s = sigma_next
        if eta > 0:  # what is added makes up for rounding
            t_next = bisect_right(levels, sigma_next * (1 + 1e-9)) - 1
            s = math.floor((1 - eta) * max(t_next, 0) + 1e-6)
            sigma_s = min(levels[s], sigma_next)
        x = denoised + sigma_s / sigma * (x - denoised)
        if eta > 0 and i < len(sigmas) - 2:
            x = x + math.sqrt(sigma_next**2 - sigma_s**2) * noise(x)
        yield Step(i, sigma_next, x, denoised)
