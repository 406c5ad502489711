"""The second pass: what it draws on is the first one's result, enlarged."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from ..compat.profiles import Profile
from ..request import Request

if TYPE_CHECKING:
    from .job import Job
    from .model import LatentDiffusion
    from .passes import Pass


def second_pass(
    request: Request, profile: Profile, size: tuple[int, int], factor: int
) -> tuple[int, tuple[int, int]]:
    """Its steps; and its width and height, given those of the first. factor: the VAE's."""
    assert request.hires is not None
    assert request.steps is not None
    if request.hires_upscaler not in ("latent", "pixels"):
        check_upscaler(str(request.hires_upscaler))
    width, height = (profile.hires_side(side, request.hires, factor) for side in size)
    return request.steps if request.hires_steps is None else request.hires_steps, (width, height)


def check_upscaler(path: str) -> None:
    """An error, if there is no such file; its network is read when it is needed."""
    from ..models.upscalers import check_upscaler

    if not Path(path).expanduser().is_file():
        what = f"hires_upscaler {path!r:.200} is neither latent nor pixels, nor a file"
        raise ValueError(f"{what}: give one of these, or the file of an upscaler")
    check_upscaler(path)


def upscale_latents(model: LatentDiffusion, job: Job, part: Pass, latents: Tensor) -> Tensor:
    """The latents of a first pass at the size of the second: to be drawn on.

    Interpolating latents blurs them, and leaves the details to the second pass. Pictures, enlarged
    and encoded again, come through sharper, and need less strength; the more so by a network.
    """
    size = part.height, part.width
    if job.request.hires_upscaler == "latent":
        size = part.latent_size(model.vae.factor)
        return F.interpolate(latents, size, mode="bilinear", antialias=True)
    tile, seamless = job.request.tile, job.request.seamless
    pictures, upscaler = model.decode(latents, tile, seamless), str(job.request.hires_upscaler)
    if upscaler == "pixels":
        pictures = F.interpolate(pictures, size, mode="bicubic", antialias=True).clamp(-1, 1)
    else:
        from .enlarging import enlarged, named_upscaler

        pictures = enlarged(pictures, *size, named_upscaler(upscaler, model.device))
    return torch.cat([model.encode(picture[None], tile, seamless) for picture in pictures])
