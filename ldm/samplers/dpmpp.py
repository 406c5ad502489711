"""DPM-Solver++: exponential integrators that extrapolate the denoised latent in log sigma.

With lambda = -log sigma (the log of the signal to noise ratio, halved) the probability flow has the
exact solution

    x' = sigma'/sigma x + sigma' * integral of e^lambda D(x(lambda), lambda) from lambda to lambda'

(Lu et al. 2022b, "DPM-Solver++", in x = x_t / sqrt(a)). A D that is constant over the step gives
x' = D + sigma'/sigma (x - D), with weight 1 - sigma'/sigma = 1 - e^-h = -expm1(-h) on D; the
methods differ in how they do better. The step to sigma = 0 has h = inf and ends in D itself.
"""

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise

from torch import Tensor

from .denoiser import Denoiser
from .noise import Noise
from .registry import Step, sampler


@sampler(
    order=2,
    label="DPM++ 2M",
    schedule="karras",
    schedules={"diffusers": "sgm_linspace", "compvis": "sgm_uniform"},
    ends_at_sigma_min=("compvis",),
)
def dpmpp_2m(denoise: Denoiser, x: Tensor, sigmas: Sequence[float], noise: Noise) -> Iterator[Step]:
    """DPM-Solver++(2M): D at the middle of the step, on the line through the last two. Lu et al.
    2022b, algorithm 2.

    One model call a step. The first step is of order 1, and so is one to 0; and as in the authors'
    code the last of less than 15, wherever it leads.
    """
    last, h_last, final = None, 0.0, len(sigmas) - 2 if len(sigmas) <= 15 else -1
    for i, (sigma, sigma_next) in enumerate(pairwise(sigmas)):
        denoised = denoise(x, sigma)
        h = log_ratio(sigma, sigma_next)
        denoised_mid = denoised
        if last is not None and sigma_next > 0 and i != final:
            denoised_mid = denoised + h / (2 * h_last) * (denoised - last)
        x = sigma_next / sigma * x - math.expm1(-h) * denoised_mid
        yield Step(i, sigma_next, x, denoised)
        last, h_last = denoised, h


def log_ratio(sigma: float, sigma_next: float) -> float:
    """h = lambda' - lambda = log(sigma / sigma_next), infinite for a step to 0."""
    return math.log(sigma / sigma_next) if sigma_next > 0 else math.inf
