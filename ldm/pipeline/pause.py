"""A sampling that was left, in a file: what was asked for, and every result of the denoiser so far.

    paused = pause(model, model.resolve(request), steps=10)
    save_paused("half.safetensors", paused)
    ...
    paused = read_paused("half.safetensors")
    job = model.resolve(paused.request, paused.image, paused.mask, depth=paused.depth)
    for step in model.steps(job, record=paused.record):

The second run repeats the first ten steps without the network, which takes no time, and goes on.
See `recorded`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from ..images.files import open_image
from ..images.masks import to_mask
from ..models.weights import CheckpointError
from ..models.weights.opening import open_checkpoint
from ..models.weights.write_safetensors import write_safetensors
from ..request import Request
from ..runtime.files import replacing

if TYPE_CHECKING:
    from PIL.Image import Image

    from .job import Job
    from .model import LatentDiffusion


@dataclass(frozen=True)
class Paused:
    """request      settled, of one batch
    model        the name of the model that was drawing
    record       the denoised latents so far, a call of the denoiser each: (B, Z, H/f, W/f)
    image, mask, depth   what lies in the files of these names in the request, which may be out of
                 reach next time
    """

    request: Request
    model: str
    record: list[Tensor]
    image: Image | None = None
    mask: Image | None = None
    depth: Tensor | None = None


def pause(model: LatentDiffusion, job: Job, steps: int) -> Paused:
    """Run so many steps of a job, and keep what is needed to go on."""
    record: list[Tensor] = []
    for step in model.steps(job, record=record):
        if step.index + 1 == steps:
            break
    named = job.request
    image = None if named.image is None else open_image(named.image)
    mask = None if named.mask is None else open_image(named.mask, to_mask)
    return Paused(job.request, model.name, record, image, mask, job.depth)


def save_paused(path: str | Path, paused: Paused) -> None:
    if not paused.record:
        raise ValueError("nothing has been computed yet: pause after the first step, or later")
    tensors = {f"denoised.{i}": denoised.cpu() for i, denoised in enumerate(paused.record)}
    for name, picture in (("image", paused.image), ("mask", paused.mask)):
        if picture is not None:
            tensors[name] = torch.from_numpy(np.array(picture.convert("RGB")))
    if paused.depth is not None:
        tensors["depth"] = paused.depth
    with replacing(Path(path)) as temporary:
        write_safetensors(
            temporary, tensors, {"request": paused.request.to_json(), "model": paused.model}
        )


def read_paused(path: str | Path) -> Paused:
    """The inverse of `save_paused`. CheckpointError: it is another file, or damaged."""
    opened = open_checkpoint(path)
    if not {"request", "model"} <= opened.metadata.keys() or "denoised.0" not in opened.weights:
        raise CheckpointError(f"{path} is no paused drawing: give a file that --pause_after made")

    def picture(name: str) -> Image | None:
        from PIL import Image

        return (
            Image.fromarray(opened.weights[name].read().numpy()) if name in opened.weights else None
        )

    calls = sum(name.startswith("denoised.") for name in opened.weights)
    record = [opened.weights[f"denoised.{i}"].read() for i in range(calls)]
    request = Request.from_json(opened.metadata["request"])
    depth = opened.weights["depth"].read() if "depth" in opened.weights else None
    image, mask = picture("image"), picture("mask")
    return Paused(request, opened.metadata["model"], record, image, mask, depth)
