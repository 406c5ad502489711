"""One word for what is fastest: what `fast` fills in where a request leaves it open. It never
overrides what was asked for. `fast.md` has a measured line on each part."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from ..models.families import Family
from ..request import Request
from ..runtime.formats import named
from ..samplers import SAMPLERS
from ..vae.taesd import TAESD

if TYPE_CHECKING:
    from .job import Job
    from .model import LatentDiffusion

CACHE = 3  # see `caching`
GUIDED = (0.28, 1e4)  # noise levels: at the highest, too, where it decides what the picture shows
FEW = 10  # steps, below which each one counts; most distilled models take no more


def faster(request: Request, family: Family) -> Request:
    """The request with a cache, and guidance within an interval, where it leaves them open. None of
    them where it takes few steps, as distilled models do; no cache for a sampler that chooses its
    steps by the error that it finds."""
    named = family.sampler if request.sampler is None else request.sampler
    sampler = SAMPLERS.get(named)
    if steps_of(request, family) < FEW or family.distilled:
        return request
    if sampler is None or not sampler.adaptive:
        request = request.filled(cache=CACHE)
    return request.filled(guidance_interval=GUIDED)


def steps_of(request: Request, family: Family) -> float:
    """That will be done, of a picture about so many."""
    steps = family.steps if request.steps is None else request.steps
    part = 1 if request.strength is None or request.full_steps else request.strength
    return steps * part


def chosen(model: LatentDiffusion, job: Job) -> str:
    """What `fast` is for a job, in a line."""
    request, parts = job.request, [named(model.dtype)]
    parts.append("no cache" if request.cache in (None, 1) else f"cache {request.cache}")
    if request.guidance_interval is not None and job.guided:
        low, high = request.guidance_interval
        parts.append(f"guidance within sigma {low:g} to {high:g}")
    parts.append("TAESD" if isinstance(model.vae, TAESD) else "its own VAE (--vae takes a TAESD)")
    again = "" if model.dtype == torch.float32 else f" (ldm replay wants --dtype {parts[0]}, too)"
    return f"fast: {', '.join(parts)}{again}"
