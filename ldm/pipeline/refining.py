"""A second model for the last steps: the base draws what the picture shows, the refiner goes on
with its details, on the same latents. Podell et al. 2023, sec. 2.5.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ..runtime.warn import warn
from ..samplers import Denoiser, NoiseSchedule
from ..samplers.wrappers import switched
from .compiling import is_compiled
from .denoise import guided
from .makers import completed

if TYPE_CHECKING:
    from .additions import Addition
    from .denoise import Clock
    from .job import Job
    from .model import LatentDiffusion
    from .passes import Pass


@dataclass(frozen=True, eq=False)
class Refiner:
    """model            that denoises below a noise level, in the last pass
    noise_schedule   the noise levels of its training
    below            that noise level
    additions        see Job: the request's, if they fit this model too
    """

    model: LatentDiffusion
    noise_schedule: NoiseSchedule
    below: float
    additions: tuple[Addition, ...] = ()

    def job(self, base: Job) -> Job:
        """The base's job for this model."""
        return replace(base, noise_schedule=self.noise_schedule, additions=self.additions)

    def taking_over(
        self, denoise: Denoiser, model: LatentDiffusion, job: Job, part: Pass, clock: Clock
    ) -> Denoiser:
        """D of the base, and of this model below its noise level."""
        onward = self.job(job)
        told = completed(self.model, onward, part, job.noise(part, model.dtype))
        return switched(denoise, guided(self.model, onward, part, told, clock), self.below)


def with_refiner(model: LatentDiffusion, job: Job) -> Job:
    """The job with the refiner that its request names: one that the model has at hand, or one that
    is loaded now, and kept. ValueError: its latents are not the model's."""
    from .loading import load

    request, profile = job.request, job.profile
    name, base = str(request.refiner), model.family.vae
    if job.given.conditioning is not None:
        raise ValueError("a refiner reads prompts of its own: leave out conditioning, or refiner")
    if name not in model.refiners:
        same = model.device, model.dtype
        model.refiners[name] = load(name, *same, compile=is_compiled(model.unet))
    refiner = model.refiners[name]
    own = refiner.family.vae
    theirs, ours = ((vae.latent_channels, vae.scale, vae.mean, vae.factor) for vae in (own, base))
    if theirs != ours:
        raise ValueError(
            f"{name} cannot go on with the latents of {model.name}: they are of families "
            f"{refiner.family.name} and {model.family.name}; give a refiner of the same VAE"
        )
    schedule = refiner.family.noise_schedule(profile.linear_sigma, profile.round_t)
    found = Refiner(refiner, schedule, switch(job, request.refiner_start))
    return replace(job, refiner=with_additions(found, model, job))


def with_additions(refiner: Refiner, model: LatentDiffusion, job: Job) -> Refiner:
    """The refiner with the additions of a job, where its networks are those of the job's model;
    else a warning tells that it goes on without them."""
    base, own = model.family, refiner.model.family
    if not (names := [addition.called for addition in job.additions]):
        return refiner
    if (base.text, base.unet) != (own.text, own.unet):
        what = f"the refiner draws its steps without the {' and '.join(names)} of the request"
        warn(f"{what}: they are for {base.name}, and it is of {own.name}")
        return refiner
    again = [addition.again(refiner.model, job) for addition in job.additions]
    return replace(refiner, additions=tuple(one for one in again if one is not None))


def switch(job: Job, start: float) -> float:
    """The noise level at which a part `start` of the training steps is done: 0 none, 1 all. From
    there on the refiner denoises, as in diffusers and, since version 1.8, in A1111."""
    levels = job.noise_schedule
    left = round((1 - start) * len(levels))
    return levels.sigma(left) if left < len(levels) else math.inf
