"""A second model for the last steps: the base draws what the picture shows, the refiner goes on
with its details, on the same latents. Podell et al. 2023, sec. 2.5.
"""

from __future__ import annotations

import math
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ..runtime.warn import warn
from ..samplers import Denoiser, NoiseSchedule
from ..samplers.wrappers import switched
from .makers import completed

if TYPE_CHECKING:
    from .adding import Added
    from .controls import Control
    from .denoise import Clock
    from .job import Job
    from .model import LatentDiffusion
    from .passes import Pass


@dataclass(frozen=True, eq=False)
class Refiner:
    """model            that denoises below a noise level, in the last pass
    noise_schedule   the noise levels of its training
    below            that noise level
    controls, added  see Job: the request's, if they fit this model too
    """

    model: LatentDiffusion
    noise_schedule: NoiseSchedule
    below: float
    controls: tuple[Control, ...] = ()
    added: Added | None = None

    def job(self, base: Job) -> Job:
        """The base's job for this model."""
        own = self.controls, self.added
        return replace(base, noise_schedule=self.noise_schedule, controls=own[0], added=own[1])

    def taking_over(
        self, denoise: Denoiser, model: LatentDiffusion, job: Job, part: Pass, clock: Clock
    ) -> Denoiser:
        """D of the base, and of this model below its noise level."""
        from .denoise import guided

        onward = self.job(job)
        told = completed(self.model, onward, part, job.noise(part, model.dtype))
        return switched(denoise, guided(self.model, onward, part, told, clock), self.below)

    def lent(self, base: Job) -> AbstractContextManager[None]:
        """See `ModelLoras.lent`."""
        loras = self.model.loras
        return nullcontext() if loras is None else loras.lent(self.job(base))


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
    found = Refiner(refiner, schedule, switch(job, request.refiner_start))
    return replace(job, refiner=with_additions(found, model, job))


def with_additions(refiner: Refiner, model: LatentDiffusion, job: Job) -> Refiner:
    """The refiner with the controls, LoRAs and embeddings of a job, where its networks are those of
    the job's model; else a warning tells that it goes on without them."""
    base, own = model.family, refiner.model.family
    loras, towers = (job.added.loras, job.added.towers) if job.added else (None, None)
    asked = {"controls": job.controls, "LoRAs": loras, "embeddings": towers}
    if not (names := [name for name, given in asked.items() if given]):
        return refiner
    if (base.text, base.unet) != (own.text, own.unet):
        what = f"the refiner draws its steps without the {' and '.join(names)} of the request"
        warn(f"{what}: they are for {base.name}, and it is of {own.name}")
        return refiner
    added = None
    if job.added is not None:
        from .adding import added as with_added

        added = with_added(refiner.model, job).added
    return replace(refiner, controls=job.controls, added=added)


def switch(job: Job, start: float) -> float:
    """The noise level at which a part `start` of the training steps is done: 0 none, 1 all. From
    there on the refiner denoises, as in diffusers and, since version 1.8, in A1111."""
    levels = job.noise_schedule
    left = round((1 - start) * len(levels))
    return levels.sigma(left) if left < len(levels) else math.inf
