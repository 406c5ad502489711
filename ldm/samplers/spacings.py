"""More lists of noise levels that are spaced in sigma itself, see `schedule`."""

import math

from .schedule import NoiseSchedule, ramp, schedule


@schedule
def exponential(schedule: NoiseSchedule, steps: int) -> list[float]:
    """Evenly spaced in log sigma."""
    return polyexponential(schedule, steps, rho=1.0)


@schedule
def polyexponential(schedule: NoiseSchedule, steps: int, rho: float = 1.0) -> list[float]:
    """log sigma runs down as u^rho for u from 1 to 0: greater rho, more of the small sigmas.
    k-diffusion."""
    high, low = math.log(schedule.sigma_max), math.log(schedule.sigma_min)
    return [math.exp(low + u**rho * (high - low)) for u in ramp(1, 0, steps)] + [0.0]


@schedule
def kl_optimal(schedule: NoiseSchedule, steps: int) -> list[float]:
    """Evenly spaced in arctan sigma, which is optimal for data N(0, 1). Sabour et al. 2024, theorem
    3.1."""
    high, low = math.atan(schedule.sigma_max), math.atan(schedule.sigma_min)
    return [math.tan(angle) for angle in ramp(high, low, steps)] + [0.0]


@schedule
def align_your_steps(schedule: NoiseSchedule, steps: int) -> list[float]:
    """Levels optimised for Stable Diffusion 1 at ten steps, log-linear between them. Sabour et al.
    2024 ("Align your steps").

    They belong to its noise schedule: one that ends below them is a ValueError.
    """
    table = (14.615, 6.475, 3.861, 2.697, 1.886, 1.396, 0.963, 0.652, 0.399, 0.152, 0.029)
    if schedule.sigma_max < 0.99 * table[0]:
        raise ValueError(
            f"align_your_steps starts at {table[0]}, "
            f"this model ends at {schedule.sigma_max:.4g}: use karras"
        )
    places = [(min(int(place), len(table) - 2), place) for place in ramp(0, len(table) - 1, steps)]
    return [table[i] * (table[i + 1] / table[i]) ** (place - i) for i, place in places] + [0.0]
