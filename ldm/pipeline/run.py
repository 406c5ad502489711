"""From a job to its steps: the loop.

B pictures, their latents (B, Z, h, w).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from ..samplers import Noise, Step
from ..samplers.variation import centred, slerp
from .denoise import Clock, Watched, denoiser, latent_mask

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
    for part in job.passes:
        noise = make_noise(model, job, part, job.seeds)
        clean = starting_latents(model, job, part, noise, latents)
        x = initial_latents(model, job, part, noise, clean)
        clock = Clock(earlier=clock.earlier + clock.calls)
        denoise = Watched(denoiser(model, job, part, clean, clock), clock, model, part, record)
        steps: Iterator[Step] = iter([Step(0, 0.0, x, x)])
        if len(part.sigmas) > 1:
            steps = part.sampler.run(denoise, x, part.sigmas, noise, **part.options)
            if not isinstance(steps, Iterator):
                what = f"sampler {part.sampler.name!r} returns {type(steps).__name__}"
                raise ValueError(f"{what}: it must yield a Step for each interval of the sigmas")
        for step in steps:
            clock.step, latents = step.index + 2, step.x
            if step.sigma == part.sigmas[-1] > 0:  # some programs take x_t for the clean latent
                latents = step.x / math.sqrt(1 + step.sigma**2)
            yield step._replace(index=done + step.index, x=latents)
        done += step.index + 1


def make_noise(model: LatentDiffusion, job: Job, part: Pass, seeds: range | list[int]) -> Noise:
    """The noise of these seeds, as the imitated program has it."""
    offset, ensd = job.request.noise_offset, job.request.ensd
    return job.profile.make_noise(seeds, part.sigmas, model.dtype, offset, ensd)


def starting_latents(
    model: LatentDiffusion, job: Job, part: Pass, noise: Noise, latents: Tensor | None
) -> Tensor | None:
    """The clean latents that a pass starts from: those of the picture, or given ones, or those of
    the pass before, enlarged. None: it starts from noise alone."""
    if part is not job.passes[0] and latents is not None:
        return upscale_latents(model, job, part, latents)
    if job.init is not None:
        picked = noise.sample_posterior(empty_latents(model, job, part))
        clean = model.encode(job.init.image, job.request.tile, job.request.seamless, picked)
        return clean.expand(job.request.total, -1, -1, -1)
    if latents is None:
        return None
    return latents.to(model.device, torch.float32).expand(job.request.total, -1, -1, -1)


def initial_latents(
    model: LatentDiffusion, job: Job, part: Pass, noise: Noise, clean: Tensor | None
) -> Tensor:
    """Where sampling starts: the clean latents, or unknown ones of variance 1, under noise of the
    first sigma."""
    sigma, profile = part.sigmas[0], job.profile
    if clean is not None and sigma == 0:
        return clean
    first = initial_noise(model, job, part, noise)
    schedule, sigma_max = str(job.request.schedule), job.noise_schedule.sigma_max
    unknown = profile.initial_noise_scale(part.sampler, schedule, sigma, sigma_max) * first
    if clean is None:
        return unknown
    x = clean + (unknown if profile.full_noise_img2img else part.noised * first)
    if part.noised != sigma:  # x_t of the one level is taken for x_t of the other
        x = x * math.sqrt((1 + sigma**2) / (1 + part.noised**2))
    if job.init is None or job.init.mask is None or job.request.masked_content != "noise":
        return x
    return torch.where(latent_mask(job.init.mask, clean) > 0, unknown, x)


def initial_noise(model: LatentDiffusion, job: Job, part: Pass, noise: Noise) -> Tensor:
    """The standard normals that sampling starts from: the seeds'; or made for another size, or on
    the way to the subseed's; or given ones."""
    request, own = job.request, noise(empty_latents(model, job, part))
    if job.given.noise is not None and part is job.passes[0]:
        return job.given.noise.to(own).expand_as(own)
    if request.subseed_strength == 0 and part.resize_from is None:
        return own
    width, height = (part.width, part.height) if part.resize_from is None else part.resize_from
    factor = model.vae.factor
    like = own.new_empty(*own.shape[:2], height // factor, width // factor)
    first = make_noise(model, job, part, noise.seeds)(like)
    if request.subseed_strength > 0:
        other = make_noise(model, job, part, [request.subseed] * len(own))(like)
        first = slerp(first, other, request.subseed_strength, job.profile.slerp_dims)
    return centred(first, own)


def empty_latents(model: LatentDiffusion, job: Job, part: Pass) -> Tensor:
    """Zeros of the shape of a pass's latents. (B, Z, h, w)"""
    channels, factor = model.vae.config.latent_channels, model.vae.factor
    shape = job.request.total, channels, part.height // factor, part.width // factor
    return torch.zeros(shape, device=model.device)


def upscale_latents(model: LatentDiffusion, job: Job, part: Pass, latents: Tensor) -> Tensor:
    """The latents of a first pass at the size of the second: to be drawn on.

    Interpolating latents blurs them, and leaves the details to the second pass. Pictures, enlarged
    and encoded again, come through sharper, and need less strength.
    """
    size = part.height, part.width
    if job.request.hires_upscaler == "latent":
        size = part.height // model.vae.factor, part.width // model.vae.factor
        return F.interpolate(latents, size, mode="bilinear", antialias=True)
    tile, seamless = job.request.tile, job.request.seamless
    pictures = model.decode(latents, tile, seamless)
    pictures = F.interpolate(pictures, size, mode="bicubic", antialias=True).clamp(-1, 1)
    return torch.cat([model.encode(picture[None], tile, seamless) for picture in pictures])
