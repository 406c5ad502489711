"""What the inpainting models are told: the mask, and the picture with a hole in its place."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from ...conditioning import Conditioning
from ...samplers import Noise
from .beside import beside

if TYPE_CHECKING:
    from ..job import Job
    from ..model import LatentDiffusion
    from ..passes import Pass
    from . import Complete


def inpainting(model: LatentDiffusion, job: Job, part: Pass, noise: Noise) -> Complete:
    """The mask (1 channel; 1: to be drawn, 0: known) and the latent of what is known (Z channels).

    As in Stability's scripts/gradio/inpainting.py: what is to be drawn is grey in the picture that
    is encoded, and the mask is that of the nearest pixels. Without a picture, or a mask, everything
    is to be drawn, as AUTOMATIC1111's web UI has it.
    """
    init, size = job.init, (part.height, part.width)
    mask = torch.ones(1, 1, *size) if init is None or init.mask is None else init.mask
    known = torch.zeros(1, 3, *size) if init is None else init.image * (1 - mask)  # 0 is grey

    @cache  # a sample of the posterior is drawn after the noise that sampling starts from
    def concat() -> Tensor:  # (1 or N, 1 + Z, h, w)
        small, channels = part.latent_size(model.vae.factor), model.vae.config.latent_channels
        like = torch.zeros(job.request.total, channels, *small, device=model.device)
        picked = noise.sample_posterior(like)
        latents = model.encode(known, job.request.tile, job.request.seamless, picked)
        nearest = F.interpolate(mask.to(latents), small)
        return torch.cat([nearest.expand(len(latents), -1, -1, -1), latents], dim=1)

    def complete(branches: list[Conditioning], pictures: Sequence[int]) -> list[Conditioning]:
        return beside(branches, concat(), pictures)

    return complete
