"""A U-Net whose depth is computed anew in every N-th call of the denoiser only: `unet.cached`.

It counts the denoiser's calls, not steps, so that samplers that call it several times a step save
as much. Within one call of the denoiser the network may be called several times: for tiles, for
prompts that differ in shape. Each of these places holds a map of its own. A place that has none of
the right shape (a pass has begun, guidance has come to its end) computes all.

Which calls are whole depends on their number alone: so a picture is the same in every batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from torch import Tensor

from ..conditioning import Conditioning
from ..unet import UNet
from ..unet.cached import shallow, whole
from .additions import Addition

if TYPE_CHECKING:
    from ..samplers import Network
    from .denoise import Clock
    from .job import Job
    from .model import LatentDiffusion
    from .passes import Pass


def added(model: LatentDiffusion, job: Job) -> Caching | None:
    """For `KINDS`. Nothing where every call is whole."""
    interval = job.request.cache
    return None if interval in (None, 1) else Caching(interval)


class Caching(Addition):
    """Each pass has held maps of its own, and each model."""

    called = "held maps"

    def __init__(self, interval: int) -> None:
        self.interval = interval

    def around(
        self, network: Network, model: LatentDiffusion, job: Job, part: Pass, clock: Clock
    ) -> Network:
        return Cached(model.unet, self.interval, clock)


class Cached:
    """The U-Net of a pass, whole in every `interval`-th call of the denoiser; 1: in each."""

    def __init__(self, unet: UNet, interval: int, clock: Clock) -> None:
        self.unet, self.interval, self.clock = unet, interval, clock
        self.call, self.place = -1, 0
        self.held: dict[int, Tensor] = {}

    def __call__(
        self, x: Tensor, t: Tensor, cond: Conditioning, residuals: Sequence[Tensor] = ()
    ) -> Tensor:
        """As the U-Net. residuals: of a ControlNet; between whole calls only the first counts, as
        the others are in the held map."""
        call = self.clock.earlier + self.clock.calls
        self.place = self.place + 1 if call == self.call else 0
        self.call = call
        held = self.held.get(self.place)
        if call % self.interval and held is not None and fits(held, x):
            return shallow(self.unet, x, t, cond, held, residuals)
        raw, self.held[self.place] = whole(self.unet, x, t, cond, residuals)
        return raw


def fits(held: Tensor, x: Tensor) -> bool:
    """Whether a map was made of a latent of this shape."""
    return len(held) == len(x) and held.shape[2:] == x.shape[2:]
