"""What a U-Net is told beside the time and the text: a maker for each kind of conditioning that a
family can have.

A maker is called once a pass, before anything else draws from its noise. What it gives back is
called with the branches of guidance, of which the first is the negative where there are several,
and with the numbers of the pictures that are their rows; it completes them: with a vector, with
channels beside the latent, or with one more.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import reduce
from typing import TYPE_CHECKING

from ...conditioning import Conditioning
from ...samplers import Noise
from .depth import depth
from .guidance import guidance
from .image_embedding import image_embedding
from .inpainting import inpainting
from .instruction import instruction
from .low_resolution import low_resolution
from .sizes import sizes, sizes_and_score

if TYPE_CHECKING:
    from ..job import Job
    from ..model import LatentDiffusion
    from ..passes import Pass

Complete = Callable[[list[Conditioning], Sequence[int]], list[Conditioning]]
Maker = Callable[["LatentDiffusion", "Job", "Pass", Noise], Complete]

MAKERS: dict[str, Maker] = {
    "inpainting": inpainting,
    "depth": depth,
    "low_resolution": low_resolution,
    "instruction": instruction,
    "image_embedding": image_embedding,
    "guidance": guidance,
    "sizes": sizes,
    "sizes_and_score": sizes_and_score,
}


def completed(model: LatentDiffusion, job: Job, part: Pass, noise: Noise) -> Complete:
    """All the makers of a family, one after the other; then those of what is added."""
    made = [MAKERS[name](model, job, part, noise) for name in model.family.told]
    made += [addition.completing(model, job, part, noise) for addition in job.additions]
    return lambda branches, pictures: reduce(
        lambda rows, complete: complete(rows, pictures), made, branches
    )
