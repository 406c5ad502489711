"""What a sampler is, and the table of all of them.

A sampler is one generator function  run(denoise, x, sigmas, noise)  that yields a `Step` for every
interval of sigmas:

    denoise  D(x, sigma) -> the expected clean latent
    x        (B, C, H, W) = clean + sigmas[0] * standard normal; it is never written into
    sigmas   decreasing floats, the last of them 0.0. Image to image is the tail of a longer list.
    noise    standard normals, for the stochastic samplers only

Its state is its local variables. Progress, previews, stopping and pausing are the caller's `for`
loop. A sampler of one's own is such a function under the decorator `sampler`, anywhere.
"""

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeVar

from torch import Tensor

from .schedule import NoiseSchedule, levels


class Step(NamedTuple):
    """One step done: x (B, C, H, W), now at noise level `sigma`, and the D it was made with."""

    index: int  # type: ignore[assignment]  # shadows tuple.index
    sigma: float
    x: Tensor
    denoised: Tensor


Run = TypeVar("Run", bound=Callable[..., Iterator[Step]])


@dataclass(frozen=True)
class Sampler:
    """A sampling method and what a caller should know of it.

    order        the error of its end point falls as steps^-order, every random part switched off;
                 None: no ODE solver
    label        its name in AUTOMATIC1111's web UI, or in the literature
    stochastic   draws noise after the first one, with its default options
    schedule     the list of sigmas that goes with it where "automatic" is asked for, as in that UI
    calls_per_step        of the model, but for the first or the last step
    in_training_steps     its authors have it in x_t and training steps, not in x and sigma
    discard_next_to_last  that list is made one longer and loses its next-to-last sigma
    own_levels   walks levels of its own between the ends of the list, so that Steps need not be at
                 the list's sigmas
    adaptive     decides itself how many Steps there are, and takes one picture at a time; its list
                 has two levels or more before 0, as it goes from the first to the last of them

    How other programs have it, by the names that `compat.profiles` gives them:

    schedules          its automatic schedule
    discards           whether the next-to-last sigma is discarded, where that is not as above
    ends_at_sigma_min  programs ("": this library) whose last step leads to the noise of the first
                       training step, not 0
    starts_from_sigma  programs that begin with noise of sigmas[0], as for a clean latent of 0
    extra_draws        draws of a batch's noise beyond the first and one a step, where a program
                       seeds only once in a run, so that they move the noise of later batches
    """

    name: str
    run: Callable[..., Iterator[Step]]
    order: int | None
    label: str
    stochastic: bool = False
    schedule: str = "uniform"
    calls_per_step: int = 1
    in_training_steps: bool = False
    discard_next_to_last: bool = False
    own_levels: bool = False
    adaptive: bool = False
    schedules: Mapping[str, str] = field(default_factory=dict, hash=False)
    discards: Mapping[str, bool] = field(default_factory=dict, hash=False)
    ends_at_sigma_min: Collection[str] = ()
    starts_from_sigma: Collection[str] = ()
    extra_draws: Mapping[str, int] = field(default_factory=dict, hash=False)

    def sigmas(
        self, noise_schedule: NoiseSchedule, steps: int, schedule: str = "automatic"
    ) -> list[float]:
        """The list for `steps` steps of this sampler, see `levels`; `schedule` is a key of
        SCHEDULES or "automatic"."""
        name = self.schedule if schedule == "automatic" else schedule
        return levels(noise_schedule, steps, name, self.discard_next_to_last, self.adaptive)


SAMPLERS: dict[str, Sampler] = {}


def sampler(*, order: int | None, label: str, **columns: Any) -> Callable[[Run], Run]:
    """Enter the decorated generator function into SAMPLERS, under its own name; the arguments are
    fields of `Sampler`. ValueError if another function has that name."""

    def enter(run: Run) -> Run:
        new = Sampler(run.__name__, run, order, label, **columns)
        old = SAMPLERS.setdefault(new.name, new).run
        if (old.__module__, old.__qualname__) != (run.__module__, run.__qualname__):
            raise ValueError(
                f"sampler {new.name!r} is {old.__module__}.{old.__qualname__}: take another name"
            )
        SAMPLERS[new.name] = new
        return run

    return enter
