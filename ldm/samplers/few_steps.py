"""The lists of noise levels that models distilled to a few steps were trained for, see `schedule`.

Those of SDXL Lightning, and of DMD2 from two steps on, are `trailing`.
"""

import math

from .schedule import NoiseSchedule, schedule
from .timesteps import at_times, trailing

LCM_STEPS = 50  # of the solver that latent consistency models were distilled from


@schedule
def lcm(schedule: NoiseSchedule, steps: int, strength: float = 1.0) -> list[float]:
    """Evenly spaced among the 50 of `trailing`: 4 of them are 999, 759, 499, 259. More steps than
    50 are `trailing`.

    strength: of image to image. All the steps are among the lowest floor(50 strength) then, where
    other lists lose their head. Luo et al. 2023 (LCM), their code; TCD's has the same.
    """
    origin = min(max(LCM_STEPS, steps), len(schedule))
    there = max(int(origin * strength), 1)
    if steps > there and strength < 1:
        raise ValueError(
            f"{steps} steps are more than the schedule lcm has at strength {strength:g}, {there}: "
            "give fewer steps or more strength"
        )
    tail = trailing(schedule, origin)[-there - 1 :]
    return [tail[math.floor(i * (there / steps))] for i in range(steps)] + [0.0]


@schedule
def turbo(schedule: NoiseSchedule, steps: int) -> list[float]:
    """From the last training step down by T/10 each: 4 of them are 999, 899, 799, 699. Stability's
    demonstration of SDXL Turbo, and ComfyUI's node for it. From ten steps on it is `trailing`.

    diffusers, and Forge's schedule of this name, have `trailing`, 999, 749, 499, 249.
    """
    return [*trailing(schedule, max(steps, 10))[:steps], 0.0]


@schedule
def dmd2(schedule: NoiseSchedule, steps: int) -> list[float]:
    """`trailing`, but a single step is taken at t = 399 of 1000. Yin et al. 2024 (DMD2), their
    code."""
    single = at_times(schedule, [0.4 * len(schedule) - 1])
    return single if steps == 1 else trailing(schedule, steps)


@schedule
def hyper_sd(schedule: NoiseSchedule, steps: int) -> list[float]:
    """`trailing`, but a single step is taken at t = 800 of 1000, as Hyper-SD's one-step U-Net is
    trained for. Ren et al. 2024 (Hyper-SD), the page of their models."""
    single = at_times(schedule, [0.8 * len(schedule)])
    return single if steps == 1 else trailing(schedule, steps)
