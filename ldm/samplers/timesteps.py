"""The lists of noise levels that are spaced in training steps t, see `schedule`."""

from collections.abc import Iterable

from .schedule import SCHEDULES, NoiseSchedule, ramp, schedule


@schedule
def uniform(schedule: NoiseSchedule, steps: int) -> list[float]:
    """Training steps evenly spaced from the last to the first, fractions kept. k-diffusion's
    `get_sigmas`."""
    return at_times(schedule, ramp(len(schedule) - 1, 0, steps))


SCHEDULES["normal"] = uniform  # ComfyUI's name


@schedule
def sgm_uniform(schedule: NoiseSchedule, steps: int) -> list[float]:
    """As `uniform`, but the last step is the one that leads to 0: no call of the model near the
    first training step."""
    return at_times(schedule, ramp(len(schedule) - 1, 0, steps + 1)[:-1])


@schedule
def linspace(schedule: NoiseSchedule, steps: int) -> list[float]:
    """As `uniform`, rounded to whole training steps. Lin et al. 2023, table 2."""
    return at_times(schedule, [round(t) for t in ramp(len(schedule) - 1, 0, steps)])


@schedule
def sgm_linspace(schedule: NoiseSchedule, steps: int) -> list[float]:
    """As `sgm_uniform`, rounded to whole training steps: what diffusers' multistep solvers start
    from."""
    return at_times(schedule, [round(t) for t in ramp(len(schedule) - 1, 0, steps + 1)[:-1]])


@schedule
def leading(schedule: NoiseSchedule, steps: int) -> list[float]:
    """DDIM's training steps  i (T // steps) + 1, exactly `steps` of them. Lin et al. 2023, table
    2."""
    return at_times(schedule, [i * (len(schedule) // steps) + 1 for i in reversed(range(steps))])


@schedule
def ddim_uniform(schedule: NoiseSchedule, steps: int) -> list[float]:
    """DDIM's training steps  1, 1 + c, 1 + 2 c, ... < T  with c = T // steps: often one or more
    beyond `steps`."""
    return at_times(schedule, range(1, len(schedule), max(len(schedule) // steps, 1))[::-1])


@schedule
def ddim_clipped(schedule: NoiseSchedule, steps: int) -> list[float]:
    """As `ddim_uniform`, but where one training step more would be T, just beyond the last, it is
    the last. A1111's."""
    last = len(schedule) - 1
    times = {min(t + 1, last) for t in range(0, last + 1, max((last + 1) // steps, 1))}
    return at_times(schedule, sorted(times, reverse=True))


@schedule
def trailing(schedule: NoiseSchedule, steps: int) -> list[float]:
    """Whole training steps at the end of each of `steps` equal parts, the last step among them. Lin
    et al. 2023."""
    return at_times(
        schedule, [round(len(schedule) * (steps - i) / steps) - 1 for i in range(steps)]
    )


@schedule
def simple(schedule: NoiseSchedule, steps: int) -> list[float]:
    """As `trailing`, the parts cut down to whole numbers from the other end. ComfyUI's
    `simple_scheduler`."""
    return at_times(
        schedule, [len(schedule) - 1 - int(i * len(schedule) / steps) for i in range(steps)]
    )


def at_times(schedule: NoiseSchedule, times: Iterable[float]) -> list[float]:
    """The noise levels of these training steps, then 0."""
    return [schedule.sigma(t) for t in times] + [0.0]
