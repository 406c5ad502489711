"""A second model for the last steps: the base draws what the picture shows, the refiner goes on
with its details, on the same latents. Podell et al. 2023, sec. 2.5.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ..samplers import NoiseSchedule

if TYPE_CHECKING:
    from .job import Job
    from .model import LatentDiffusion


@dataclass(frozen=True, eq=False)
class Refiner:
    """model            that denoises below a noise level, in the last pass
    noise_schedule   the noise levels of its training
    below            that noise level
    """

    model: LatentDiffusion
    noise_schedule: NoiseSchedule
    below: float

    def job(self, base: Job) -> Job:
        """The base's job for this model, which has none of its additions."""
        return replace(base, noise_schedule=self.noise_schedule, controls=(), added=None)


def with_refiner(model: LatentDiffusion, job: Job) -> Job:
    """The job with the refiner that its request names: one that the model has at hand, or one that
    is loaded now, and kept. ValueError: its latents are not the model's."""
    from .loading import load

    request, profile = job.request, job.profile
    name, base = str(request.refiner), model.family.vae
    if job.given.conditioning is not None:
        raise ValueError("a refiner reads prompts of its own: leave out conditioning, or refiner")
    if name not in model.refiners:
        model.refiners[name] = load(name, model.device, model.dtype)
    refiner = model.refiners[name]
    own = refiner.family.vae
    theirs, ours = ((vae.latent_channels, vae.scale, vae.mean, vae.factor) for vae in (own, base))
    if theirs != ours:
        raise ValueError(
            f"{name} cannot go on with the latents of {model.name}: they are of families "
            f"{refiner.family.name} and {model.family.name}; give a refiner of the same VAE"
        )
    schedule = refiner.family.noise_schedule(profile.linear_sigma, profile.round_t)
    return replace(job, refiner=Refiner(refiner, schedule, switch(job, request.refiner_start)))


def switch(job: Job, start: float) -> float:
    """The noise level at which a part `start` of the training steps is done: 0 none, 1 all. From
    there on the refiner denoises, as in diffusers and, since version 1.8, in A1111."""
    levels = job.noise_schedule
    left = round((1 - start) * len(levels))
    return levels.sigma(left) if left < len(levels) else math.inf
