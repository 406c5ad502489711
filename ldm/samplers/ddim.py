"""Denoising diffusion implicit models, which in sigma are Euler's method."""

from collections.abc import Iterator, Sequence

from torch import Tensor

from .denoiser import Denoiser
from .euler import euler_ancestral
from .noise import Noise
from .registry import Step, sampler


@sampler(order=1)
def ddim(denoise: Denoiser, x: Tensor, sigmas: Sequence[float], noise: Noise, *, eta: float = 0.0) -> Iterator[Step]:
    """DDIM. Song et al. 2021, eq. 12 and 16:

        x_t' = sqrt(a') D + sqrt(1 - a' - s^2) e + s z      s = eta sqrt((1 - a') / (1 - a)) sqrt(1 - a / a')

    Here x = x_t / sqrt(a) and sigma^2 = (1 - a) / a. Divided by sqrt(a'), with e = (x - D) / sigma the direction and
    s / sqrt(a') = up the new noise, that is  x' = D + down e + up z:  the ancestral Euler step, whose eta is the
    same eta. With eta = 0 (here the default) it is plain Euler, and nothing is drawn.
    """
    return euler_ancestral(denoise, x, sigmas, noise, eta=eta)
