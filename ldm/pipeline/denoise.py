"""The denoiser of a job. From the inside out:

UNet                      the prediction of a network that is told t and a Conditioning
ModelDenoiser             what it means: D(x, sigma, conditioning)
Guided                    several branches in one call, combined: D(x, sigma)
prompted                  prompts that change on the way, or differ in shape
within_regions            larger latents in tiles; what is known of the picture
Watched                   what the sampler is given: counted, recorded, finite
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..conditioning import Conditioning
from ..prompts.conditioner import is_plain
from ..runtime.finite import broken
from ..runtime.later import finite_later
from ..samplers import Denoiser, ModelDenoiser, Network
from ..samplers.guidance import Guided, cfg, unguided
from ..samplers.wrappers import recorded
from .combined import combined
from .makers import Complete
from .prompted import prompted
from .regions import whole, within_regions

if TYPE_CHECKING:
    from .job import Job
    from .model import LatentDiffusion
    from .passes import Pass


@dataclass
class Clock:
    """Where a pass is: the step that is being done, counted from 1, the calls of D before it, and
    those of the passes before."""

    step: int = 1
    calls: int = 0
    earlier: int = 0


class Watched:
    """The denoiser that a sampler is given: it counts its calls, and gives no NaN or infinity; from
    a GPU, which is not waited for, none but in its last call, until `settle` is called."""

    def __init__(
        self, denoise: Denoiser, clock: Clock, model: LatentDiffusion, part: Pass,
        record: list[Tensor] | None,
    ) -> None:  # fmt: skip
        self.denoise = denoise
        self.kept = denoise if record is None else recorded(denoise, record, clock.earlier)
        self.clock, self.model, self.part = clock, model, part
        self.settle: Callable[[], None] = lambda: None

    def __call__(self, x: Tensor, sigma: float) -> Tensor:
        denoised = self.kept(x, sigma)
        check = partial(self.check, x, sigma, replace(self.clock))
        if x.device.type == "cpu":
            check(denoised.isfinite().all().item)
        else:
            self.settle()
            self.settle = partial(check, finite_later(denoised))
        self.clock.calls += 1
        return denoised

    def check(self, x: Tensor, sigma: float, then: Clock, finite: Callable[[], object]) -> None:
        """NotFinite if a call of D gave a NaN or an infinity; it is repeated, to name what did."""
        if not finite():
            self.clock.step, self.clock.calls = then.step, then.calls
            where = f"step {then.step} of {len(self.part.sigmas) - 1}"
            raise broken(lambda: self.denoise(x, sigma), {"unet": self.model.unet}, where)


def denoiser(
    model: LatentDiffusion,
    job: Job,
    part: Pass,
    told: Complete | None,
    clean: Tensor | None,
    clock: Clock,
) -> Denoiser:
    """D(x, sigma) for the pictures of a pass. told: what completes the conditioning, see `makers`;
    clean (B, Z, h, w): the latents it starts from."""
    denoise = guided(model, job, part, told, clock)
    if job.refiner is not None and part is job.passes[-1]:
        denoise = job.refiner.taking_over(denoise, model, job, part, clock)
    if job.request.tile is None and job.init is None:
        return denoise
    return within_regions(denoise, model, job, clean)


def guided(
    model: LatentDiffusion, job: Job, part: Pass, told: Complete | None, clock: Clock
) -> Denoiser:
    """The network guided by the prompts, or by the conditioning that is given instead."""
    network: Network = model.unet
    for addition in (*job.additions, *model.lasting):
        model = addition.reading(model)
        network = addition.around(network, model, job, part, clock)
    if job.request.seamless is not None or job.request.tile is not None:
        network = whole(network, model, job)
    core = model.family.denoiser(network, job.noise_schedule)
    everyone, same = range(job.request.total), torch.ones(1, job.request.total)

    def guide(
        rows: list[Conditioning], pictures: Sequence[int] = everyone, weights: Tensor = same
    ) -> Denoiser:
        return guidance(core, job, rows if told is None else told(rows, pictures), weights)

    if job.given.conditioning:
        return guide(job.given.told(len(everyone), model.dtype, model.device))
    prompts, negatives = job.prompts, job.negatives if job.guided else ()
    texts = list(dict.fromkeys((*prompts, *negatives)))  # each is encoded once
    plain = [is_plain(model.tokenizer, text, job.chunking) for text in texts]
    if job.request.clip_skip is not None or not all(plain):
        return prompted(model, job, part, guide, clock)
    encoded = model.conditioning(texts, job.chunking, None, job.profile.repeat_chunks)
    branches = [negatives, prompts] if job.guided else [prompts]
    return guide([encoded[[texts.index(text) for text in branch]] for branch in branches])


def guidance(core: ModelDenoiser, job: Job, rows: list[Conditioning], weights: Tensor) -> Denoiser:
    """The branches combined as the request says. weights: of the positives, see `branches`."""
    request = job.request
    if len(rows) == 1:
        return Guided(core, rows, unguided)
    if len(rows) > 2 or request.guidance_rescale or request.guidance_interval is not None:
        return combined(core, job, rows, weights)
    return Guided(core, rows, cfg(job.guidance_scale))
