"""What the x4 upscaler is told: the picture that it makes larger, under some noise."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ...conditioning import Conditioning
from ...images.files import fit, open_image, to_tensor
from ...samplers import Noise, NoiseSchedule, scaled_linear_betas
from ..init_image import InitImage, as_pil, checked
from .beside import beside

if TYPE_CHECKING:
    from ...request import Request
    from ..init_image import Picture
    from ..job import Job
    from ..model import LatentDiffusion
    from ..passes import Pass
    from . import Complete

LOW_SCALE = 1e-4, 0.02, 1000  # betas of the noise on the small picture: x4-upscaling.yaml


def low_resolution(model: LatentDiffusion, job: Job, part: Pass, noise: Noise) -> Complete:
    """Three channels: the small picture, a pixel of it for each of the latent, noised to a level of
    its own; and as the vector that level, of the negative as well.

    x_level = sqrt(a) picture + sqrt(1 - a) noise    (Ho et al. 2020, eq. 4; Stability's
    ldm/modules/diffusionmodules/upscaling.py)
    """
    assert job.init is not None
    assert job.request.noise_level is not None
    level, small = job.request.noise_level, job.init.image.to(model.device)  # (1, 3, h, w)
    normals = noise.of_picture(small.expand(job.request.total, -1, -1, -1))
    a = float(NoiseSchedule(scaled_linear_betas(*LOW_SCALE)).alphas_cumprod[level])
    noisy = math.sqrt(a) * small + math.sqrt(1 - a) * normals  # (1 or N, 3, h, w)

    def complete(branches: list[Conditioning], pictures: Sequence[int]) -> list[Conditioning]:
        vector = torch.full((len(pictures), 1), level, device=model.device)
        return [replace(row, vector=vector) for row in beside(branches, noisy, pictures)]

    return complete


def small_picture(request: Request, factor: int, image: Picture) -> InitImage:
    """The picture to be made larger, as it is, or of the size that makes the width and height asked
    for. factor: how much larger it becomes, the VAE's."""
    picture = open_image(image) if isinstance(image, str | Path) else image
    checked(picture)
    width, height = (
        None if side is None else side // factor for side in (request.width, request.height)
    )
    if not isinstance(picture, Tensor) or width is not None or height is not None:
        picture = to_tensor(fit(as_pil(picture), 1, width, height))
    return InitImage(picture, color_correction=request.color_correction, scale=factor)
