"""Noise schedules: the betas a model was trained with, and t <-> sigma.

A latent is noised as  x = clean + sigma * noise  (variance exploding, Song et al. 2021), so that a
schedule is one increasing function sigma(t) of the training step t, and a sampler needs nothing but
a list of sigmas.
"""

import math
from bisect import bisect_right
from collections.abc import Iterable

import torch
from torch import Tensor


def scaled_linear_betas(start: float = 0.00085, end: float = 0.0120, steps: int = 1000) -> Tensor:
    """Betas linear in their square root: what latent diffusion's configs call "linear". (steps,)
    float64."""
    return torch.linspace(start**0.5, end**0.5, steps, dtype=torch.float64) ** 2


class NoiseSchedule:
    """The discrete noise levels of training, and what lies between them.

    alphas_cumprod  (T,) float64   a, the product of 1 - beta: the variance left of the clean
                    latent. Ho et al. 2020, eq. 4
    sigmas          (T,) float64   sqrt((1 - a) / a), increasing
    linear_sigma    whether sigma is linear between training steps, as diffusers has it; else its
                    logarithm is
    round_t         whether `t` gives the nearest training step, as ComfyUI has it
    """

    def __init__(self, betas: Tensor, linear_sigma: bool = False, round_t: bool = False) -> None:
        self.alphas_cumprod = torch.cumprod(1 - betas.double(), 0)
        self.sigmas = ((1 - self.alphas_cumprod) / self.alphas_cumprod).sqrt()
        self.linear_sigma, self.round_t = linear_sigma, round_t
        self._y: list[float] = (self.sigmas if linear_sigma else self.sigmas.log()).tolist()

    def __len__(self) -> int:
        return len(self.sigmas)

    @property
    def sigma_min(self) -> float:
        return self.sigma(0)

    @property
    def sigma_max(self) -> float:
        return self.sigma(len(self) - 1)

    def sigma(self, t: float) -> float:
        """The noise level of a (fractional) training step 0 <= t <= T - 1."""
        low = min(max(math.floor(t), 0), len(self) - 2)
        fraction = min(max(t - low, 0.0), 1.0)
        y = (1 - fraction) * self._y[low] + fraction * self._y[low + 1]
        return y if self.linear_sigma else math.exp(y)

    def t(self, sigma: float) -> float:
        """The inverse of `sigma`: a fractional training step, clamped to [0, T - 1]."""
        y = sigma if self.linear_sigma else math.log(max(sigma, 1e-10))
        low = min(max(bisect_right(self._y, y) - 1, 0), len(self) - 2)
        left, right = self._y[low], self._y[low + 1]
        t = low + min(max((y - left) / (right - left), 0.0), 1.0)
        return float(round(t)) if self.round_t else t

    def timesteps(self, sigmas: Iterable[float]) -> list[float]:
        """The training step t of each of a list of noise levels; of 0, the first."""
        return [self.t(sigma) for sigma in sigmas]
