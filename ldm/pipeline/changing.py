"""Denoisers of pictures whose prompts change on the way, or differ in shape."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache

import torch
from torch import Tensor

from ..prompts.conditioner import PromptBatch
from ..prompts.schedule import PromptSchedule, Reads
from ..samplers import Denoiser


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
