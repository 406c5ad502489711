"""Restart sampling: Heun's method that now and then adds noise and repeats a stretch."""

from collections.abc import Iterator, Sequence
from itertools import count
from typing import NamedTuple

from torch import Tensor

from .denoiser import Denoiser
from .heun import heun
from .noise import Noise
from .registry import Step, sampler
from .schedule import karras_ramp


class Restart(NamedTuple):
    """From the level nearest to `low` up to the one nearest to `high` and down again in `steps`
    steps, `times` over."""

    low: float
    high: float
    steps: int
    times: int


@sampler(
    order=2, stochastic=True, own_levels=True, label="Restart", schedule="karras", calls_per_step=2
)
def restart(
    denoise: Denoiser,
    x: Tensor,
    sigmas: Sequence[float],
    noise: Noise,
    *,
    restarts: Sequence[Restart] | None = None,
    s_noise: float = 1.0,
) -> Iterator[Step]:
    """Heun's method with jumps back up,  x' = x + sqrt(high^2 - low^2) z.  Xu et al. 2023,
    algorithm 1.

    The noise forgets errors made above; the ODE solver between jumps makes few. Not given,
    `restarts` are those of AUTOMATIC1111: none below 20 steps, else one repeat (from 36 steps on
    two) of 0.1 to 2.0, its steps taken from the number asked for, the rest spaced as `karras`
    between sigmas[0] and sigmas[-2].
    """
    if restarts is None:
        sigmas, restarts = _automatic(sigmas)
    index, level = count(), sigmas[0]
    for segment in _segments(sigmas, restarts):
        if segment[0] > level:
            x = x + s_noise * (segment[0] ** 2 - level**2) ** 0.5 * noise(x)
        for step in heun(denoise, x, segment, noise):
            x, level = step.x, step.sigma
            yield step._replace(index=next(index))


def _automatic(sigmas: Sequence[float]) -> tuple[Sequence[float], list[Restart]]:
    steps = len(sigmas) - 1
    if steps < 20 or sigmas[0] <= 0.1:
        return sigmas, []
    again = Restart(0.1, 2.0, 9, 1) if steps < 36 else Restart(0.1, 2.0, steps // 4, 2)
    return [*karras_ramp(sigmas[0], sigmas[-2], steps - again.steps * again.times), 0.0], [again]


def _segments(sigmas: Sequence[float], restarts: Sequence[Restart]) -> Iterator[list[float]]:
    """The descents, one after the other: the list's own stretches and the repeats between them."""

    def nearest(level: float) -> int:
        return min(range(len(sigmas)), key=lambda i: abs(sigmas[i] - level))

    start = 0
    for again in sorted(restarts, reverse=True):
        low, high = nearest(again.low), nearest(again.high)
        if start <= low and high < low:
            yield list(sigmas[start : low + 1])
            yield from [karras_ramp(sigmas[high], sigmas[low], again.steps + 1)] * again.times
            start = low
    yield list(sigmas[start:])
