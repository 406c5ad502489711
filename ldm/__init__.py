"""Latent diffusion from scratch, in pure PyTorch.

import ldm
model = ldm.load()
images = model.txt2img("a red star above a blue ring", seed=1, count=4)
"""

from .models.families import FAMILIES
from .pipeline import LatentDiffusion, load
from .request import Request
from .samplers import SAMPLERS, SCHEDULES

__all__ = ["FAMILIES", "SAMPLERS", "SCHEDULES", "LatentDiffusion", "Request", "load"]
