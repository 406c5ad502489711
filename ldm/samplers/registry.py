"""What a sampler is, and the table of all of them.

A sampler is one generator function  run(denoise, x, sigmas, noise)  that yields a `Step` for every interval of sigmas:

    denoise  D(x, sigma) -> the expected clean latent
    x        (B, C, H, W) = clean + sigmas[0] * standard normal; it is never written into
    sigmas   decreasing floats, the last of them 0.0. Image to image is the tail of a longer list.
    noise    standard normals, for the stochastic samplers only

Its state is its local variables. Progress, previews, stopping and pausing are the caller's `for` loop.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple, TypeVar

from torch import Tensor

from .schedule import NoiseSchedule
from .sigmas import SCHEDULES


class Step(NamedTuple):
    """One step done: x (B, C, H, W), now at noise level `sigma`, and the guess of the clean latent it was made with."""

    index: int  # type: ignore[assignment]  # shadows tuple.index
    sigma: float
    x: Tensor
    denoised: Tensor


Run = TypeVar("Run", bound=Callable[..., Iterator[Step]])


@dataclass(frozen=True)
class Sampler:
    """A sampling method and what a caller should know of it.

    order       the error of its end point falls as steps^-order, every random part switched off; None: no ODE solver
    stochastic  draws noise after the first one, with its default options
    label       its name in AUTOMATIC1111's web UI, or in the literature
    schedule    the list of sigmas that goes with it where "automatic" is asked for, as in that UI
    discard     that list is made one longer and loses its next-to-last sigma
    own_levels  walks levels of its own between the ends of the list, so that Steps need not be at the list's sigmas
    adaptive    decides itself how many Steps there are, and takes one picture at a time
    """

    name: str
    run: Callable[..., Iterator[Step]]
    order: int | None
    stochastic: bool
    label: str
    schedule: str
    discard: bool
    own_levels: bool
    adaptive: bool

    def sigmas(self, noise_schedule: NoiseSchedule, steps: int, schedule: str = "automatic") -> list[float]:
        """The list for `steps` steps of this sampler; `schedule` is a key of SCHEDULES or "automatic".

        ValueError for an unknown schedule, less than 1 step, or more steps than it has different levels for.
        """
        if steps < 1:
            raise ValueError(f"{steps} steps: a sampler takes at least 1")
        name = self.schedule if schedule == "automatic" else schedule
        if name not in SCHEDULES:
            raise ValueError(f"schedule {name!r} is unknown: choose from automatic, {', '.join(SCHEDULES)}")
        sigmas = SCHEDULES[name](noise_schedule, steps + self.discard)
        if any(a <= b for a, b in pairwise(sigmas)):
            raise ValueError(f"{steps} steps are more than {name} has different levels for: give fewer")
        return sigmas[:-2] + sigmas[-1:] if self.discard else sigmas


SAMPLERS: dict[str, Sampler] = {}


def sampler(
    *,
    order: int | None,
    label: str,
    stochastic: bool = False,
    schedule: str = "uniform",
    discard: bool = False,
    own_levels: bool = False,
    adaptive: bool = False,
) -> Callable[[Run], Run]:
    """Enter the decorated generator function into SAMPLERS, under its own name; the arguments are `Sampler`'s."""

    def enter(run: Run) -> Run:
        SAMPLERS[run.__name__] = Sampler(
            run.__name__, run, order, stochastic, label, schedule, discard, own_levels, adaptive
        )
        return run

    return enter
