"""Denoisers of pictures whose prompts change on the way, are joined by AND, or differ in shape."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor

from ..conditioning import Conditioning
from ..prompts.batches import PromptBatch, batch_by_shape, branches
from ..prompts.schedule import PromptSchedule, Reads
from ..samplers import Denoiser

if TYPE_CHECKING:
    from .denoise import Clock
    from .job import Job
    from .model import LatentDiffusion
    from .passes import Pass


class Guide(Protocol):
    """The denoiser of some pictures of a job, by their numbers, with the branches that they read;
    weights: of the positives, see `branches`."""

    def __call__(
        self, rows: list[Conditioning], pictures: Sequence[int], weights: Tensor
    ) -> Denoiser: ...


def prompted(model: LatentDiffusion, job: Job, part: Pass, guide: Guide, clock: Clock) -> Denoiser:
    """D of the pictures of a pass: of all that have the shape of prompts in one batch."""
    batches = batch_by_shape(
        job.prompts,
        job.negatives,
        model.tokenizer,
        job.chunking,
        job.guided,
        part.changes,
        part.earlier,
        job.profile.repeat_chunks,
    )
    parts = [of_batch(model, job, batch, guide, clock) for batch in batches]
    return parts[0] if len(parts) == 1 else side_by_side(batches, parts)


def of_batch(
    model: LatentDiffusion, job: Job, batch: PromptBatch, guide: Guide, clock: Clock
) -> Denoiser:
    """D of the pictures of a batch. Every text is encoded once, and the branches are stacked once
    for each moment at which a prompt changes."""
    skip, profile = job.request.clip_skip, job.profile
    layer = None if skip is None else profile.clip_layer(skip, model.family.text[0].layer)
    read = partial(model.conditioning, batch.schedule.texts, job.chunking)
    encoded = read(layer, profile.repeat_chunks)
    plain = skip is not None and not profile.skips_negatives
    negative = read(None, profile.repeat_chunks) if plain else None

    def build(reads: Reads) -> Denoiser:
        rows, weights = branches(reads, encoded, batch.guided, negative)
        return guide(rows, batch.pictures, weights)

    if batch.schedule.constant:
        return build(batch.schedule.at(1))
    by_calls = job.profile.calls_count
    return changing(build, batch.schedule, lambda: clock.calls if by_calls else clock.step)


def changing(
    build: Callable[[Reads], Denoiser], schedule: PromptSchedule, now: Callable[[], int]
) -> Denoiser:
    """A denoiser whose prompts change on the way: at each call that of the texts that are read."""
    of_moment = lru_cache(maxsize=4)(build)
    return lambda x, sigma: of_moment(schedule.at(now()))(x, sigma)


def side_by_side(batches: Sequence[PromptBatch], parts: Sequence[Denoiser]) -> Denoiser:
    """D of pictures that cannot be computed in one batch, because their prompts differ in shape."""

    def denoise(x: Tensor, sigma: float) -> Tensor:
        denoised = torch.empty_like(x)
        for batch, part in zip(batches, parts):
            denoised[batch.pictures] = part(x[batch.pictures], sigma)
        return denoised

    return denoise
