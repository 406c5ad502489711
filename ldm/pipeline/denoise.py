"""The denoiser of a job. From the inside out:

UNet                      the prediction of a network that is told t and a Conditioning
ModelDenoiser             what it means: D(x, sigma, conditioning)
Guided                    several branches in one call, combined: D(x, sigma)
changing, side_by_side    prompts that change on the way, or differ in shape
within_regions            larger latents in tiles; what is known of the picture
Watched                   what the sampler is given: counted, recorded, finite
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..conditioning import Conditioning
from ..prompts.conditioner import PromptBatch, batch_by_shape, branches
from ..prompts.schedule import Reads
from ..runtime.finite import broken
from ..samplers import Denoiser, ModelDenoiser
from ..samplers.guidance import Guided, cfg, unguided
from ..samplers.wrappers import recorded, switched
from .adding import reading
from .changing import changing, side_by_side
from .combined import combined
from .makers import Complete, completed
from .regions import network_of, within_regions

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
    """The denoiser that a sampler is given: it counts its calls, and gives no NaN or infinity."""

    def __init__(
        self,
        denoise: Denoiser,
        clock: Clock,
        model: LatentDiffusion,
        part: Pass,
        record: list[Tensor] | None,
    ) -> None:
        if record is not None:
            denoise = recorded(denoise, record, clock.earlier)
        self.denoise = denoise
        self.clock, self.model, self.part = clock, model, part

    def __call__(self, x: Tensor, sigma: float) -> Tensor:
        denoised = self.denoise(x, sigma)
        if not denoised.isfinite().all():
            where = f"step {self.clock.step} of {len(self.part.sigmas) - 1}"
            raise broken(lambda: self.denoise(x, sigma), {"unet": self.model.unet}, where)
        self.clock.calls += 1
        return denoised


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
    if (refiner := job.refiner) is not None and part is job.passes[-1]:
        onward = refiner.job(job)
        its = completed(refiner.model, onward, part, job.noise(part, model.dtype))
        refine = guided(refiner.model, onward, part, its, clock)
        denoise = switched(denoise, refine, refiner.below)
    if job.request.tile is None and job.init is None:
        return denoise
    return within_regions(denoise, model, job, clean)


def guided(
    model: LatentDiffusion, job: Job, part: Pass, told: Complete | None, clock: Clock
) -> Denoiser:
    """The network guided by the prompts, or by the conditioning that is given instead."""
    model = model if job.added is None else reading(model, job)
    bare = job.request.seamless is None and job.request.tile is None and not job.controls
    network = model.unet if bare else network_of(model, job, part, clock)
    if model.loras is not None:
        network = model.loras.around(network, job, part, clock)
    core = model.family.denoiser(network, job.noise_schedule)
    if job.given.conditioning:
        ready = job.given.conditioning
        rows = [given.rows(job.request.total, model.dtype) for given in ready]
        rows = rows if told is None else told(rows, range(job.request.total))
        return guidance(core, job, rows, torch.ones(1, job.request.total))
    batches = batch_by_shape(
        job.prompts,
        job.negatives,
        model.towers[0].tokenizer,
        job.chunking,
        job.guided,
        part.changes,
        part.earlier,
        job.profile.repeat_chunks,
    )
    parts = [prompted(model, job, core, batch, told, clock) for batch in batches]
    return parts[0] if len(parts) == 1 else side_by_side(batches, parts)


def prompted(
    model: LatentDiffusion,
    job: Job,
    core: ModelDenoiser,
    batch: PromptBatch,
    told: Complete | None,
    clock: Clock,
) -> Denoiser:
    """D of the pictures of a batch. Every text is encoded once, and the branches are stacked once
    for each moment at which a prompt changes, completed by what else the model is told."""
    encoded = model.conditioning(
        batch.schedule.texts, job.chunking, job.request.clip_skip, job.profile.repeat_chunks
    )

    def build(reads: Reads) -> Denoiser:
        rows, weights = branches(reads, encoded, batch.guided)
        if told is not None:
            rows = told(rows, batch.pictures)
        return guidance(core, job, rows, weights)

    if batch.schedule.constant:
        return build(batch.schedule.at(1))
    by_calls = job.profile.calls_count
    return changing(build, batch.schedule, lambda: clock.calls if by_calls else clock.step)


def guidance(core: ModelDenoiser, job: Job, rows: list[Conditioning], weights: Tensor) -> Denoiser:
    """The branches combined as the request says. weights: of the positives, see `branches`."""
    request = job.request
    if len(rows) == 1:
        return Guided(core, rows, unguided)
    if len(rows) > 2 or request.guidance_rescale or request.guidance_interval is not None:
        return combined(core, job, rows, weights)
    return Guided(core, rows, cfg(job.guidance_scale))
