"""What a model that varies pictures is told: what CLIP sees in one, under some noise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor

from ...conditioning import Conditioning
from ...runtime.warn import warn
from ...samplers import Noise
from ...unet.blocks import timestep_embedding

if TYPE_CHECKING:
    from PIL.Image import Image

    from ...clip.augmentation import NoiseAugmentor
    from ...clip.vision import VisionEncoder
    from ..init_image import InitImage
    from ..job import Job
    from ..model import LatentDiffusion
    from ..passes import Pass
    from . import Complete

LONGEST = 16  # times the shorter side


def image_embedding(model: LatentDiffusion, job: Job, part: Pass, noise: Noise) -> Complete:
    """The vector [noised embedding of the picture | sinusoids of the noise's level]; zeros for the
    negative, and where there is no picture, as in a part of the training: Stability's
    scripts/streamlit/stableunclip.py, and embedding_dropout of its configs."""
    width = model.unet.config.vector_width
    assert width is not None
    vector = torch.zeros(1, width, device=model.device)  # (1 or N, 2 E)
    if job.init is not None:
        vector = seen(model, job, noise)

    def complete(branches: list[Conditioning], pictures: Sequence[int]) -> list[Conditioning]:
        own = vector.expand(len(pictures), -1) if len(vector) == 1 else vector[list(pictures)]
        vectors = [own if i or len(branches) == 1 else 0 * own for i in range(len(branches))]
        return [
            row if row.vector is not None else replace(row, vector=one)
            for row, one in zip(branches, vectors)
        ]

    return complete


def seen(model: LatentDiffusion, job: Job, noise: Noise) -> Tensor:
    """(1, 2 E), or (N, 2 E) where the pictures of a batch have noise of their own."""
    assert job.init is not None
    assert job.init.source is not None
    assert job.request.noise_level is not None
    if "vision" not in model.others:
        raise ValueError("this model lacks the networks that see a picture: load it from its file")
    from ...clip.pictures import prepared
    from ..init_image import as_pil

    vision = cast("VisionEncoder", model.others["vision"])
    augmentor = cast("NoiseAugmentor", model.others["augmentor"])
    level, like = job.request.noise_level, augmentor.mean.weight
    floor = job.profile.program == "diffusers"  # whose pictures transformers cuts
    picture = prepared([as_pil(job.init.source)], vision.config.size, floor).to(like)
    embedding = vision(picture).pooled  # (1, E)
    if level and vision.config.activation == "quick_gelu" and not like.any():
        warn(
            "this model has not the statistics of CLIP's embeddings that its makers scale noise "
            f"by: at noise_level {level} it is more, or less; put ViT-L-14_stats.th beside the file"
        )
    normals = noise.of_picture(embedding.expand(job.request.total, -1).float())
    noised = augmentor(embedding, level, normals.to(like)).float()
    sinusoids = timestep_embedding(torch.tensor([level], device=like.device), noised.shape[1])
    return torch.cat([noised, sinusoids.float().expand(len(noised), -1)], dim=1)


def with_source(init: InitImage, picture: Image | Tensor) -> InitImage:
    """What sampling starts from, with the picture that is seen. ValueError: it is a mere line."""
    height, width = picture.shape[2:] if isinstance(picture, Tensor) else picture.size[::-1]
    if max(width, height) > LONGEST * min(width, height):
        raise ValueError(
            f"a picture of {width} x {height}: this model sees the square in the middle of it, "
            f"which is too little where a side is over {LONGEST} times the other: cut it first"
        )
    return replace(init, source=picture)
