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
from typing import NamedTuple, TypeVar

from torch import Tensor


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

    order       the error of its end point falls as steps^-order (with every random part switched off)
    stochastic  draws noise after the first one
    """

    name: str
    run: Callable[..., Iterator[Step]]
    order: int
    stochastic: bool


SAMPLERS: dict[str, Sampler] = {}


def sampler(*, order: int, stochastic: bool = False) -> Callable[[Run], Run]:
    """Enter the decorated generator function into SAMPLERS, under its own name."""

    def enter(run: Run) -> Run:
        SAMPLERS[run.__name__] = Sampler(run.__name__, run, order, stochastic)
        return run

    return enter
