"""The lists of noise levels at the quantiles of a Beta distribution, see `schedule`."""

import math

from .schedule import NoiseSchedule, ramp, schedule
from .timesteps import at_times


@schedule
def beta(schedule: NoiseSchedule, steps: int, a: float = 0.6, b: float = 0.6) -> list[float]:
    """Whole training steps at the quantiles of Beta(a, b): dense at both ends. Lee et al. 2024; as
    in ComfyUI's `beta_scheduler`.

    Where several quantiles fall on one training step, it is taken once, and the list is so much
    shorter: with Stable Diffusion's 1000 training steps from 139 steps on.
    """
    quantiles = (beta_quantile(1 - i / steps, a, b) for i in range(steps))
    return at_times(schedule, dict.fromkeys(round(q * (len(schedule) - 1)) for q in quantiles))


@schedule
def beta_sigma(schedule: NoiseSchedule, steps: int, a: float = 0.6, b: float = 0.6) -> list[float]:
    """Quantiles of Beta(a, b) between sigma_min and sigma_max: what AUTOMATIC1111's web UI and
    diffusers have under the name "beta", in sigma where the paper has training steps."""
    low, high = schedule.sigma_min, schedule.sigma_max
    return [low + beta_quantile(u, a, b) * (high - low) for u in ramp(1, 0, steps)] + [0.0]


def beta_quantile(u: float, a: float, b: float) -> float:
    """The x in [0, 1] with I_x(a, b) = u, by bisection."""
    low, high = 0.0, 1.0
    for _ in range(60):
        x = (low + high) / 2
        low, high = (x, high) if incomplete_beta(x, a, b) < u else (low, x)
    return (low + high) / 2


def incomplete_beta(x: float, a: float, b: float) -> float:
    """I_x(a, b), the distribution function of Beta(a, b), by its power series. Abramowitz & Stegun
    26.5.4."""
    if x > 0.5:
        return 1 - incomplete_beta(1 - x, b, a)
    log_front = a * math.log(max(x, 1e-300)) + b * math.log1p(-x)
    total = term = math.exp(log_front + math.lgamma(a + b) - math.lgamma(a + 1) - math.lgamma(b))
    for n in range(60):
        term *= (a + b + n) / (a + 1 + n) * x
        total += term
    return total
