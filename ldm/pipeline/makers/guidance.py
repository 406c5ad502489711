"""The guidance scale, for a network that guidance was distilled into: it has one branch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from ...conditioning import Conditioning
from ...samplers import Noise

if TYPE_CHECKING:
    from ..job import Job
    from ..model import LatentDiffusion
    from ..passes import Pass
    from . import Complete


def guidance(model: LatentDiffusion, job: Job, part: Pass, noise: Noise) -> Complete:
    """Every branch is told the scale that the request asks for. Meng et al. 2023, sec. 3.1."""
    scale = torch.tensor(job.request.guidance_scale, device=model.device)

    def complete(branches: list[Conditioning], pictures: Sequence[int]) -> list[Conditioning]:
        return [replace(rows, guidance=scale.expand(len(rows))) for rows in branches]

    return complete
