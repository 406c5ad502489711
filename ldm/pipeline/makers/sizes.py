"""What SDXL is told of a picture: the pooled text, and of what size it was before it was cut, and
where, and to what. Podell et al. 2023, sec. 2.2.

A picture that was small, and one that was cut, is told from others, so that both could be trained
on; who draws asks for one that was as large as it is drawn, and not cut.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ...conditioning import Conditioning
from ...samplers import Noise
from ...unet.blocks import timestep_embedding

if TYPE_CHECKING:
    from ..job import Job
    from ..model import LatentDiffusion
    from ..passes import Pass
    from . import Complete

SCORES = 6.0, 2.5  # of a picture, and of what to draw away from: those of the makers' code


def sizes(model: LatentDiffusion, job: Job, part: Pass, noise: Noise) -> Complete:
    """The vector of SDXL: [pooled | original size | crop | target size]."""
    original, crop, target = told_sizes(job, part)
    zeros = job.profile.empty_negative in ("trained", "zeros")

    def complete(rows: list[Conditioning], pictures: Sequence[int]) -> list[Conditioning]:
        rows = without_empty(rows, job, pictures) if zeros else rows
        return [with_numbers(row, model, (*original, *crop, *target)) for row in rows]

    return complete


def sizes_and_score(model: LatentDiffusion, job: Job, part: Pass, noise: Noise) -> Complete:
    """The vector of SDXL's refiner: [pooled | original size | crop | aesthetic score]."""
    original, crop, _ = told_sizes(job, part)
    score, low = SCORES if job.request.aesthetic_score is None else job.request.aesthetic_score

    def complete(rows: list[Conditioning], pictures: Sequence[int]) -> list[Conditioning]:
        if job.profile.empty_negative == "zeros":
            rows = without_empty(rows, job, pictures)
        scores = [low if len(rows) > 1 else score, *[score] * (len(rows) - 1)]
        return [with_numbers(row, model, (*original, *crop, one)) for row, one in zip(rows, scores)]

    return complete


def told_sizes(job: Job, part: Pass) -> tuple[tuple[int, int], tuple[int, int], tuple[int, int]]:
    """Original size, crop and target size: height before width, and top before left. What is not
    said is as large as what the network sees, a picture or a tile of it."""
    request, most = job.request, max(part.width, part.height)
    tile = most if request.tile is None else request.tile
    seen = min(part.width, tile), min(part.height, tile)
    original = seen if request.original_size is None else request.original_size
    target = seen if request.target_size is None else request.target_size
    left, top = (0, 0) if request.crop is None else request.crop
    return original[::-1], (top, left), target[::-1]


def with_numbers(
    row: Conditioning, model: LatentDiffusion, numbers: tuple[float, ...]
) -> Conditioning:
    """The vector [pooled | sinusoids of each number], as wide as the U-Net's; one that is as wide
    already stays as it is."""
    pooled, width = row.vector, model.unet.config.vector_width
    assert width is not None
    if pooled is None:
        raise ValueError(
            "this model is told more than a context: model.conditioning(['a cat']) makes it"
        )
    if pooled.shape[1] == width:
        return row
    each = (width - pooled.shape[1]) // len(numbers)
    embedded = timestep_embedding(torch.tensor(numbers, device=pooled.device), each).flatten()
    parts: list[Tensor] = [pooled.float(), embedded.expand(len(row), -1)]
    return replace(row, vector=torch.cat(parts, dim=1))


def without_empty(
    rows: list[Conditioning], job: Job, pictures: Sequence[int]
) -> list[Conditioning]:
    """The branches with zeros, in context and vector, for the negatives that are empty."""
    negative, vector = rows[0], rows[0].vector
    if len(rows) == 1 or job.given.conditioning is not None or vector is None:
        return rows
    said = torch.tensor([job.negatives[i] != "" for i in pictures], device=vector.device)
    context = negative.context * said[:, None, None]
    return [replace(negative, context=context, vector=vector * said[:, None]), *rows[1:]]
