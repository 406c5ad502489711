"""Where a pass starts, if not from the noise of its seeds alone: known clean latents under noise;
and noise that is varied.

B pictures, their latents (B, Z, h, w).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..samplers import Noise
from ..samplers.variation import centred, slerp
from .hires import upscale_latents
from .regions import latent_mask

if TYPE_CHECKING:
    from .job import Job
    from .model import LatentDiffusion
    from .passes import Pass


def starting_latents(
    model: LatentDiffusion, job: Job, part: Pass, noise: Noise, latents: Tensor | None, like: Tensor
) -> Tensor:
    """The clean latents, like `like`, that a pass starts from: those of the picture, or given ones,
    or those of the pass before, enlarged."""
    if part is not job.passes[0] and latents is not None:
        return upscale_latents(model, job, part, latents)
    if job.init is not None:
        picked = noise.sample_posterior(like)
        clean = model.encode(job.init.image, job.request.tile, job.request.seamless, picked)
        return clean.expand(job.request.total, -1, -1, -1)
    assert latents is not None
    return latents.to(model.device, torch.float32).expand(job.request.total, -1, -1, -1)


def noised(job: Job, part: Pass, clean: Tensor, first: Tensor, unknown: Tensor) -> Tensor:
    """The clean latents under noise of the first sigma. first: the standard normals; unknown: what
    sampling would start from without the clean latents."""
    sigma = part.sigmas[0]
    if sigma == 0:
        return clean
    x = clean + (unknown if job.profile.full_noise_img2img else part.noised * first)
    if part.noised != sigma:  # x_t of the one level is taken for x_t of the other
        x = x * math.sqrt((1 + sigma**2) / (1 + part.noised**2))
    if job.init is None or job.init.mask is None or job.request.masked_content != "noise":
        return x
    return torch.where(latent_mask(job.init.mask, clean) > 0, unknown, x)


def varied_noise(model: LatentDiffusion, job: Job, part: Pass, own: Tensor) -> Tensor:
    """The standard normals that sampling starts from, where they are not the seeds' `own`: given
    ones; or made for another size, or on the way to the subseed's."""
    request = job.request
    if job.given.noise is not None and part is job.passes[0]:
        return job.given.noise.to(own).expand_as(own)
    if request.subseed_strength == 0 and part.resize_from is None:
        return own
    width, height = (part.width, part.height) if part.resize_from is None else part.resize_from
    factor = model.vae.factor
    like = own.new_empty(*own.shape[:2], height // factor, width // factor)
    first = job.noise(part, model.dtype)(like)
    if request.subseed_strength > 0:
        other = job.noise(part, model.dtype, [request.subseed] * len(own))(like)
        first = slerp(first, other, request.subseed_strength, job.profile.slerp_dims)
    return centred(first, own)
