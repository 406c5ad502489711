"""The named lists of noise levels a sampler walks: each a function of the noise schedule and the number of steps.

Every list decreases and ends in 0.0, and but for `ddim_uniform` and `ddim_clipped` has steps + 1 entries. The first
group is spaced in training steps t and belongs to the schedule the model was trained with, the second in sigma itself.
"""

import math
from collections.abc import Callable, Sequence

from .schedule import NoiseSchedule

SigmaList = Callable[[NoiseSchedule, int], list[float]]


def uniform(schedule: NoiseSchedule, steps: int) -> list[float]:
    """Training steps evenly spaced from the last to the first, fractions kept. k-diffusion's `get_sigmas`."""
    return _at(schedule, ramp(len(schedule) - 1, 0, steps))


def sgm_uniform(schedule: NoiseSchedule, steps: int) -> list[float]:
    """As `uniform`, but the last step is the one that leads to 0: no call of the model near the first training step."""
    return _at(schedule, ramp(len(schedule) - 1, 0, steps + 1)[:-1])


def linspace(schedule: NoiseSchedule, steps: int) -> list[float]:
    """As `uniform`, rounded to whole training steps. Lin et al. 2023, table 2."""
    return _at(schedule, [round(t) for t in ramp(len(schedule) - 1, 0, steps)])


def sgm_linspace(schedule: NoiseSchedule, steps: int) -> list[float]:
    """As `sgm_uniform`, rounded to whole training steps: what diffusers' multistep solvers start from."""
    return _at(schedule, [round(t) for t in ramp(len(schedule) - 1, 0, steps + 1)[:-1]])


def leading(schedule: NoiseSchedule, steps: int) -> list[float]:
    """DDIM's training steps  i (T // steps) + 1, exactly `steps` of them. Lin et al. 2023, table 2."""
    return _at(schedule, [i * (len(schedule) // steps) + 1 for i in reversed(range(steps))])


def ddim_uniform(schedule: NoiseSchedule, steps: int) -> list[float]:
    """DDIM's training steps  1, 1 + c, 1 + 2 c, ... < T  with c = T // steps: often one or more beyond `steps`."""
    return _at(schedule, range(1, len(schedule), max(len(schedule) // steps, 1))[::-1])


def ddim_clipped(schedule: NoiseSchedule, steps: int) -> list[float]:
    """As `ddim_uniform`, but where one training step more would be T, just beyond the last, it is the last. A1111's."""
    count = len(schedule)
    return _at(schedule, sorted({min(t + 1, count - 1) for t in range(0, count, max(count // steps, 1))}, reverse=True))


def trailing(schedule: NoiseSchedule, steps: int) -> list[float]:
    """Whole training steps at the end of each of `steps` equal parts, the last step among them. Lin et al. 2023."""
    return _at(schedule, [round(len(schedule) * (steps - i) / steps) - 1 for i in range(steps)])


def simple(schedule: NoiseSchedule, steps: int) -> list[float]:
    """As `trailing`, the parts cut down to whole numbers from the other end. ComfyUI's `simple_scheduler`."""
    return _at(schedule, [len(schedule) - 1 - int(i * len(schedule) / steps) for i in range(steps)])


def karras(schedule: NoiseSchedule, steps: int, rho: float = 7.0) -> list[float]:
    """Evenly spaced in sigma^(1/rho). Karras et al. 2022, eq. 5."""
    return [*karras_ramp(schedule.sigma_max, schedule.sigma_min, steps, rho), 0.0]


def exponential(schedule: NoiseSchedule, steps: int) -> list[float]:
    """Evenly spaced in log sigma."""
    return polyexponential(schedule, steps, rho=1.0)


def polyexponential(schedule: NoiseSchedule, steps: int, rho: float = 1.0) -> list[float]:
    """log sigma runs down as u^rho for u from 1 to 0: greater rho, more of the small sigmas. k-diffusion."""
    high, low = math.log(schedule.sigma_max), math.log(schedule.sigma_min)
    return [math.exp(low + u**rho * (high - low)) for u in ramp(1, 0, steps)] + [0.0]


def kl_optimal(schedule: NoiseSchedule, steps: int) -> list[float]:
    """Evenly spaced in arctan sigma, which is optimal for data N(0, 1). Sabour et al. 2024, theorem 3.1."""
    high, low = math.atan(schedule.sigma_max), math.atan(schedule.sigma_min)
    return [math.tan(angle) for angle in ramp(high, low, steps)] + [0.0]


def beta(schedule: NoiseSchedule, steps: int, a: float = 0.6, b: float = 0.6) -> list[float]:
    """Quantiles of Beta(a, b) between sigma_min and sigma_max: dense at both ends. Lee et al. 2024."""
    low, high = schedule.sigma_min, schedule.sigma_max
    return [low + beta_quantile(u, a, b) * (high - low) for u in ramp(1, 0, steps)] + [0.0]


def align_your_steps(schedule: NoiseSchedule, steps: int) -> list[float]:
    """Levels optimised for Stable Diffusion 1 at ten steps, log-linear between them. Sabour et al. 2024, table 3.

    They belong to its noise schedule: one that ends below them is a ValueError.
    """
    table = (14.615, 6.475, 3.861, 2.697, 1.886, 1.396, 0.963, 0.652, 0.399, 0.152, 0.029)
    if schedule.sigma_max < 0.99 * table[0]:
        raise ValueError(
            f"align_your_steps starts at {table[0]}, this model ends at {schedule.sigma_max:.4g}: use karras"
        )
    places = [(min(int(place), len(table) - 2), place) for place in ramp(0, len(table) - 1, steps)]
    return [table[i] * (table[i + 1] / table[i]) ** (place - i) for i, place in places] + [0.0]


def ramp(start: float, end: float, count: int) -> list[float]:
    """`count` evenly spaced numbers from start to end, both included; of a single one, start."""
    return [start + i / max(count - 1, 1) * (end - start) for i in range(count)]


def karras_ramp(high: float, low: float, count: int, rho: float = 7.0) -> list[float]:
    """`count` levels from high to low, evenly spaced in sigma^(1/rho)."""
    return [root**rho for root in ramp(high ** (1 / rho), low ** (1 / rho), count)]


def beta_quantile(u: float, a: float, b: float) -> float:
    """The x in [0, 1] with I_x(a, b) = u, by bisection."""
    low, high = 0.0, 1.0
    for _ in range(60):
        x = (low + high) / 2
        low, high = (x, high) if incomplete_beta(x, a, b) < u else (low, x)
    return (low + high) / 2


def incomplete_beta(x: float, a: float, b: float) -> float:
    """I_x(a, b), the distribution function of Beta(a, b), by its power series. Abramowitz & Stegun 26.5.4."""
    if x > 0.5:
        return 1 - incomplete_beta(1 - x, b, a)
    log_front = a * math.log(max(x, 1e-300)) + b * math.log1p(-x)
    total = term = math.exp(log_front + math.lgamma(a + b) - math.lgamma(a + 1) - math.lgamma(b))
    for n in range(60):
        term *= (a + b + n) / (a + 1 + n) * x
        total += term
    return total


def _at(schedule: NoiseSchedule, times: Sequence[float]) -> list[float]:
    return [schedule.sigma(t) for t in times] + [0.0]


SCHEDULES: dict[str, SigmaList] = {
    "uniform": uniform,
    "normal": uniform,  # ComfyUI's name
    "sgm_uniform": sgm_uniform,
    "linspace": linspace,
    "sgm_linspace": sgm_linspace,
    "leading": leading,
    "ddim_uniform": ddim_uniform,
    "ddim_clipped": ddim_clipped,
    "trailing": trailing,
    "simple": simple,
    "karras": karras,
    "exponential": exponential,
    "polyexponential": polyexponential,
    "kl_optimal": kl_optimal,
    "beta": beta,
    "align_your_steps": align_your_steps,
}
