"""What a strength says: of a picture's noise levels, how many there are and where the walk begins.

Of n steps the last round(n * strength) run; with full_steps n run, the last of round(n / strength).
Other programs have other rules, see `Profile`.
"""

from collections.abc import Callable

from ..compat.profiles import Profile
from ..samplers import NoiseSchedule, Sampler
from ..samplers.few_steps import lcm


def from_picture(
    profile: Profile,
    schedule: NoiseSchedule,
    sampler: Sampler,
    steps: int,
    strength: float,
    full: bool,
    within: bool,
    levels: Callable[[int], list[float]],
) -> tuple[tuple[float, ...], float]:
    """The sigmas to walk, and the level of the picture's noise. levels: all of so many steps;
    within: all steps lie within the strength, as of a distilled model with the schedule `lcm`."""
    total = total_steps(profile, steps, strength, full, len(schedule))
    if within:
        whole, first = lcm(schedule, steps, strength), 0
    else:
        whole = levels(total)
        first = first_level(profile, sampler, steps, strength, full, len(whole) - 1)
    above = noises_above(profile, sampler)
    return tuple(whole[first:]), whole[max(first - 1, 0)] if above else whole[first]


def total_steps(profile: Profile, steps: int, strength: float, full: bool, most: int) -> int:
    """Of the whole schedule. most: as many as a model has."""
    total = profile.total_steps(steps, strength) if full and strength else steps
    if total > most:
        raise ValueError(
            f"{steps} steps at strength {strength} need {total} sampling steps, and this model has "
            f"at most {most}: give fewer steps or more strength"
        )
    return total


def first_level(
    profile: Profile, sampler: Sampler, steps: int, strength: float, full: bool, there: int
) -> int:
    """The place of the first sigma to walk, where the schedule has come to `there` steps: a few
    come only as near to the number asked for as they can."""
    if full and strength > 0:
        return there - min(steps, there)
    asked = steps if noises_above(profile, sampler) else there
    return there - min(profile.img2img_steps(asked, strength), there)


def noises_above(profile: Profile, sampler: Sampler) -> bool:
    """Whether `noise_one_above` holds, which it does for the samplers that the program has."""
    return profile.noise_one_above and profile.program in sampler.ends_at_sigma_min


def ending_at(lowest: float, sigmas: tuple[float, ...]) -> tuple[float, ...]:
    """A walk to the lowest level of training, instead of to 0."""
    return (*sigmas[:-1], lowest) if len(sigmas) > 1 and sigmas[-2] > lowest else sigmas
