"""The named lists of noise levels a sampler walks: each a function of the noise schedule and the
number of steps.

Every list decreases and ends in 0.0, and but for `ddim_uniform`, `ddim_clipped` and `beta` has
steps + 1 entries. `karras` and those in `spacings` are spaced in sigma itself; those in `timesteps`
in training steps t, and belong to the schedule the model was trained with. A list of one's own is
such a function under the decorator `schedule`, anywhere.
"""

from collections.abc import Callable
from itertools import pairwise
from typing import TypeVar

from .schedule import NoiseSchedule

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
