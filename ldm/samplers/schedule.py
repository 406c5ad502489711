"""Noise schedules: the betas a model was trained with, t <-> sigma, and the named lists of sigmas.

A latent is noised as  x = clean + sigma * noise  (the "variance exploding" view of Karras et al. 2022), so that a
schedule is one increasing function sigma(t) of the training step t, and a sampler needs nothing but a list of sigmas.
"""

import math
from bisect import bisect_right
from collections.abc import Callable

import torch
from torch import Tensor


def scaled_linear_betas(start: float = 0.00085, end: float = 0.0120, steps: int = 1000) -> Tensor:
    """Betas linear in their square root: what latent diffusion's configs call "linear". (steps,) float64."""
    return torch.linspace(start**0.5, end**0.5, steps, dtype=torch.float64) ** 2


class NoiseSchedule:
    """The discrete noise levels of training and their continuous, log-linear interpolation.

    alphas_cumprod  (T,) float64   prod (1 - beta): the variance left of the clean latent. Ho et al. 2020, eq. 4
    sigmas          (T,) float64   sqrt((1 - a) / a), increasing
    """

    def __init__(self, betas: Tensor) -> None:
        self.alphas_cumprod = torch.cumprod(1 - betas.double(), 0)
        self.sigmas = ((1 - self.alphas_cumprod) / self.alphas_cumprod).sqrt()
        self._log_sigmas: list[float] = self.sigmas.log().tolist()

    def __len__(self) -> int:
        return len(self.sigmas)

    @property
    def sigma_min(self) -> float:
        return self.sigma(0)

    @property
    def sigma_max(self) -> float:
        return self.sigma(len(self) - 1)

    def sigma(self, t: float) -> float:
        """The noise level of a (fractional) training step 0 <= t <= T - 1, linear in log sigma between steps."""
        low = min(max(math.floor(t), 0), len(self) - 2)
        part = min(max(t - low, 0.0), 1.0)
        return math.exp((1 - part) * self._log_sigmas[low] + part * self._log_sigmas[low + 1])

    def t(self, sigma: float) -> float:
        """The inverse of `sigma`: a fractional training step, clamped to [0, T - 1]."""
        log_sigma = math.log(max(sigma, 1e-10))
        low = min(max(bisect_right(self._log_sigmas, log_sigma) - 1, 0), len(self) - 2)
        left, right = self._log_sigmas[low], self._log_sigmas[low + 1]
        return low + min(max((log_sigma - left) / (right - left), 0.0), 1.0)


SigmaList = Callable[[NoiseSchedule, int], list[float]]


def uniform(schedule: NoiseSchedule, steps: int) -> list[float]:
    """Training steps evenly spaced from the last to the first."""
    last = len(schedule) - 1
    return [schedule.sigma(last * (1 - i / max(steps - 1, 1))) for i in range(steps)] + [0.0]


def karras(schedule: NoiseSchedule, steps: int, rho: float = 7.0) -> list[float]:
    """Evenly spaced in sigma^(1/rho). Karras et al. 2022, eq. 5."""
    high, low = schedule.sigma_max ** (1 / rho), schedule.sigma_min ** (1 / rho)
    return [(high + i / max(steps - 1, 1) * (low - high)) ** rho for i in range(steps)] + [0.0]


def exponential(schedule: NoiseSchedule, steps: int) -> list[float]:
    """Evenly spaced in log sigma."""
    high, low = math.log(schedule.sigma_max), math.log(schedule.sigma_min)
    return [math.exp(high + i / max(steps - 1, 1) * (low - high)) for i in range(steps)] + [0.0]


def leading(schedule: NoiseSchedule, steps: int) -> list[float]:
    """DDIM's training steps  i * (T // steps) + 1: exactly `steps` of them. Song et al. 2021, sec. 4.2."""
    stride = len(schedule) // steps
    return [schedule.sigma(min(i * stride + 1, len(schedule) - 1)) for i in reversed(range(steps))] + [0.0]


SCHEDULES: dict[str, SigmaList] = {
    "uniform": uniform,
    "karras": karras,
    "exponential": exponential,
    "leading": leading,
}
