"""Heun's method."""

from collections.abc import Iterator, Sequence
from itertools import pairwise

from torch import Tensor

from .denoiser import Denoiser
from .noise import Noise
from .registry import Step, sampler
from .steps import churn


@sampler(order=2, label="Heun", calls_per_step=2, starts_from_sigma=("diffusers",))
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
    """Heun's method: Euler's step, again with the mean of the slopes at both ends. Karras et al.
    2022, algorithm 2.

    The last step, to sigma = 0, is Euler's: the slope there is 0/0. So n steps call the model
    2n - 1 times.
    """
    for i, (sigma, sigma_next) in enumerate(pairwise(sigmas)):
        x, sigma = churn(x, sigma, noise, s_churn / (len(sigmas) - 1), s_tmin, s_tmax, s_noise)
        denoised = denoise(x, sigma)
        d = (x - denoised) / sigma
        x_next = x + (sigma_next - sigma) * d
        if sigma_next > 0:
            d_next = (x_next - denoise(x_next, sigma_next)) / sigma_next
            x_next = x + (sigma_next - sigma) * (d + d_next) / 2
        x = x_next
        yield Step(i, sigma_next, x, denoised)
