"""What the depth model is told: how near everything is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch.nn.functional as F
from torch import Tensor

from ...samplers import Noise
from .beside import beside

if TYPE_CHECKING:
    from ..job import Job
    from ..model import LatentDiffusion
    from ..passes import Pass
    from . import Complete


def depth(model: LatentDiffusion, job: Job, part: Pass, noise: Noise) -> Complete:
    """One channel: the depth map at the size of the latent, from -1, the farthest of the picture,
    to 1, the nearest. Stability's scripts/gradio/depth2img.py."""
    near = depth_of(model, job)
    size = part.latent_size(model.vae.factor)
    near = scaled(F.interpolate(near, size, mode="bicubic").to(model.device))  # (1, 1, h, w)
    return lambda branches, pictures: beside(branches, near, pictures)


def depth_of(model: LatentDiffusion, job: Job) -> Tensor:
    """The depth map that is given, or else an estimate from the picture: by the model named, or by
    that of the model's own file. (1, 1, H, W)"""
    if job.depth is not None:
        return job.depth
    assert job.init is not None
    if job.request.depth_model is None:
        assert model.depth is not None
        return model.depth(job.init.image, model.device)
    from .depth_estimate import estimate

    return estimate(job.init.image, job.request.depth_model, model.device)


def scaled(near: Tensor) -> Tensor:
    """(1, 1, h, w) of any numbers -> the same from -1 to 1; 0 where all are the same."""
    low, high = near.min(), near.max()
    return 2 * (near - low) / (high - low) - 1 if high > low else near - low
