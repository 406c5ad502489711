"""Branches combined otherwise than by plain guidance: rescaled, at some noise levels only, of a
picture beside the prompt, of several prompts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor

from ..conditioning import Conditioning
from ..request import Request
from ..samplers import Denoiser, ModelDenoiser
from ..samplers.combinations import (
    composable_guidance,
    guidance_interval,
    guidance_rescale,
    picture_and_text_guidance,
)
from ..samplers.guidance import Combine, Guided, cfg, unguided

if TYPE_CHECKING:
    from .job import Job


def check(request: Request) -> None:
    """For `additions.CHECKS`. ValueError: the interval is upside down."""
    low, high = request.guidance_interval or (0.0, 0.0)
    if low > high:
        what = f"guidance_interval is low, high, and {low:g} is above {high:g}"
        raise ValueError(f"{what}: give {high:g}, {low:g}")


def combined(core: ModelDenoiser, job: Job, rows: list[Conditioning], weights: Tensor) -> Denoiser:
    """Two branches or more, guided at the scale of the request, rescaled, in its interval."""
    scale, request = job.guidance_scale, job.request
    single = len(rows) == 2
    combine = cfg(scale) if single else combination(job, weights)
    if not job.guided:
        return Guided(core, rows, combine)
    plain = unguided if single or job.picture_guided else composable_guidance(weights, 1.0)
    if request.guidance_rescale:
        combine = guidance_rescale(combine, plain, request.guidance_rescale)
    denoise = Guided(core, rows, combine)
    if request.guidance_interval is None:
        return denoise
    without = Guided(core, rows if plain is not unguided else rows[-1:], plain)
    return guidance_interval(denoise, without, *request.guidance_interval)


def combination(job: Job, weights: Tensor) -> Combine:
    """Of more than two branches: of a picture beside the prompt, or of several prompts."""
    image_scale = job.request.image_guidance_scale
    if image_scale is not None and job.picture_guided:
        return picture_and_text_guidance(job.guidance_scale, image_scale)
    return composable_guidance(weights, job.guidance_scale)
