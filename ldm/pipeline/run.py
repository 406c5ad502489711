"""From a job to its steps: the loop.

B pictures, their latents (B, Z, h, w).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..layers import packed
from ..runtime.allocator import reused
from ..samplers import Noise, Step
from .denoise import Clock, Watched, denoiser
from .initial import noised, starting_latents, varied_noise
from .makers import completed

if TYPE_CHECKING:
    from .job import Job
    from .model import LatentDiffusion
    from .passes import Pass


@torch.no_grad()
def run(model: LatentDiffusion, job: Job, record: list[Tensor] | None = None) -> Iterator[Step]:
    """Every step of all the pictures of a job, in one batch. A second pass goes on from the
    enlarged latents of the first, and its steps count on.

    record: every result of the denoiser is added to it; what it holds already is not computed
    again.
    """
    done, latents, clock = 0, job.given.latents, Clock()
    with ExitStack() as around:
        around.enter_context(lent(model, job))
        if job.refiner is not None:
            around.enter_context(lent(job.refiner.model, job.refiner.job(job)))
        for part in job.passes:
            noise = job.noise(part, model.dtype)
            more = model.family.told or job.additions
            told = completed(model, job, part, noise) if more else None
            clean, x = start(model, job, part, noise, latents)
            clock = Clock(earlier=clock.earlier + clock.calls)
            inner = denoiser(model, job, part, told, clean, clock)
            denoise = Watched(inner, clock, model, part, record)
            steps: Iterator[Step] = iter([Step(0, 0.0, x, x)])
            if len(part.sigmas) > 1:
                steps = part.sampler.run(denoise, x, part.sigmas, noise, **part.options)
                if not isinstance(steps, Iterator):
                    what = f"sampler {part.sampler.name!r} returns {type(steps).__name__}"
                    raise ValueError(f"{what}: it must yield a Step for each pair of sigmas")
            for step in steps:
                if step.sigma == part.sigmas[-1]:
                    denoise.settle()
                clock.step, latents = step.index + 2, step.x
                if step.sigma == part.sigmas[-1] > 0:  # some programs take x_t for the clean latent
                    latents = step.x / math.sqrt(1 + step.sigma**2)
                yield step._replace(index=done + step.index, x=latents)
            denoise.settle()  # a sampler may end elsewhere
            done += step.index + 1


@contextmanager
def lent(model: LatentDiffusion, job: Job) -> Iterator[None]:
    """A model's networks as they draw: with their additions, and packed, if they do not wait."""
    with ExitStack() as around:
        for addition in (*model.lasting, *job.additions):
            around.enter_context(addition.lent(job))
        if model.memory is None or model.memory.waiting is None:
            beside = (one for addition in job.additions for one in addition.networks)
            around.enter_context(packed(model.unet, *beside))
        if max(job.size) >= 256:  # smaller maps are kept anyway
            around.enter_context(reused())
        yield


def start(
    model: LatentDiffusion, job: Job, part: Pass, noise: Noise, latents: Tensor | None
) -> tuple[Tensor | None, Tensor]:
    """The clean latents that a pass starts from, or None; and x, where sampling starts: noise of
    the first sigma, on the clean latents or on unknown ones of variance 1.

    latents: given ones, or those of the pass before.
    """
    request, clean, empty = job.request, None, empty_latents(model, job, part)
    if (job.init is not None and not job.from_noise) or latents is not None:
        clean = starting_latents(model, job, part, noise, latents, empty)
    first = noise(empty)
    if request.subseed_strength > 0 or part.resize_from is not None or job.given.noise is not None:
        first = varied_noise(model, job, part, first)
    unknown = noise_scale(job, part) * first
    return clean, unknown if clean is None else noised(job, part, clean, first, unknown)


def noise_scale(job: Job, part: Pass) -> float:
    """What standard normals are multiplied with where there is no picture to start from: as for an
    unknown latent of variance 1, unless the imitated program has it otherwise."""
    sigma, scale = part.sigmas[0], job.profile.initial_noise_scale
    if scale is None:
        return math.sqrt(1 + sigma**2)
    return scale(part.sampler, str(job.request.schedule), sigma, job.noise_schedule.sigma_max)


def empty_latents(model: LatentDiffusion, job: Job, part: Pass) -> Tensor:
    """Zeros of the shape of a pass's latents. (B, Z, h, w)"""
    channels, size = model.vae.config.latent_channels, part.latent_size(model.vae.factor)
    return torch.zeros(job.request.total, channels, *size, device=model.device)
