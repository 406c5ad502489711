"""Noise levels: those a model was trained with, and the named lists of them that a sampler walks.

A latent is noised as  x = clean + sigma * noise  (variance exploding, Song et al. 2021), so that
training is one increasing function sigma(t) of its steps t, and a sampler needs nothing but a list
of sigmas.

Every list decreases and ends in 0.0, and but for `ddim_uniform`, `ddim_clipped` and `beta` has
steps + 1 entries. `karras` and those in `spacings` are spaced in sigma itself; those in `timesteps`
in training steps t, and belong to the noise the model was trained with. A list of one's own is such
a function under the decorator `schedule`, anywhere.
"""

import math
from bisect import bisect_right
from collections.abc import Callable, Iterable
from itertools import pairwise
from typing import TypeVar

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


SigmaList = Callable[[NoiseSchedule, int], list[float]]
Make = TypeVar("Make", bound=SigmaList)
SCHEDULES: dict[str, SigmaList] = {}


def schedule(make: Make) -> Make:
    """Enter the decorated function into SCHEDULES, under its own name. ValueError if another
    function has that name."""
    name = make.__name__
    old = SCHEDULES.setdefault(name, make)
    if (old.__module__, old.__qualname__) != (make.__module__, make.__qualname__):
        raise ValueError(
            f"schedule {name!r} is {old.__module__}.{old.__qualname__}: take another name"
        )
    SCHEDULES[name] = make
    return make


def levels(
    noise_schedule: NoiseSchedule,
    steps: int,
    name: str,
    discard_next_to_last: bool = False,
    adaptive: bool = False,
) -> list[float]:
    """The list of that name for `steps` steps of a sampler; others: see `Sampler`.

    ValueError for an unknown schedule, less than 1 step, or more steps than it has different
    levels for.
    """
    if steps < 1:
        raise ValueError(f"{steps} steps: a sampler takes at least 1")
    if name not in SCHEDULES:
        names = ", ".join(SCHEDULES)
        raise ValueError(f"schedule {name!r} is unknown: choose from automatic, {names}")
    ends_only = adaptive and steps == 1  # it needs the ends of the levels, and not their number
    count = 2 if ends_only else steps + discard_next_to_last
    sigmas = SCHEDULES[name](noise_schedule, count)
    if any(a <= b for a, b in pairwise(sigmas)):
        raise ValueError(f"{steps} steps are more than {name} has different levels for: give fewer")
    return sigmas[:-2] + sigmas[-1:] if discard_next_to_last else sigmas


@schedule
def karras(schedule: NoiseSchedule, steps: int, rho: float = 7.0) -> list[float]:
    """Evenly spaced in sigma^(1/rho). Karras et al. 2022, eq. 5."""
    return [*karras_ramp(schedule.sigma_max, schedule.sigma_min, steps, rho), 0.0]


def ramp(start: float, end: float, count: int) -> list[float]:
    """`count` evenly spaced numbers from start to end, both included; of a single one, start."""
    return [start + i / max(count - 1, 1) * (end - start) for i in range(count)]


def karras_ramp(high: float, low: float, count: int, rho: float = 7.0) -> list[float]:
    """`count` levels from high to low, evenly spaced in sigma^(1/rho)."""
    return [root**rho for root in ramp(high ** (1 / rho), low ** (1 / rho), count)]
