"""What InstructPix2Pix is told: the picture that the prompt is to change."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from ...conditioning import Conditioning
from ...samplers import Noise
from .beside import beside

if TYPE_CHECKING:
    from ..job import Job
    from ..model import LatentDiffusion
    from ..passes import Pass
    from . import Complete


def instruction(model: LatentDiffusion, job: Job, part: Pass, noise: Noise) -> Complete:
    """The picture's latent, the mean of the posterior, scaled only for CosXL-Edit; and one more
    branch, the first, which has the negative prompt, and zeros for the picture: see
    `picture_and_text_guidance`.

    At a picture's guidance of 1 that branch would count for nothing, and is left out.
    """
    assert job.init is not None
    latents = model.encode(job.init.image, job.request.tile, job.request.seamless)
    if not model.family.edm:  # as in diffusers' pipeline, `is_cosxl_edit`, and ComfyUI's model_base
        latents = latents / model.vae.config.scale  # (1, Z, h, w)

    def complete(branches: list[Conditioning], pictures: Sequence[int]) -> list[Conditioning]:
        told = beside(branches, latents, pictures)
        if not job.picture_guided:
            return told
        return [*beside(branches[:1], torch.zeros_like(latents), pictures), *told]

    return complete
