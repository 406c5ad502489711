"""A sampling that was left, in a file: what was asked for, and every result of the denoiser so far.

    paused = pause(model, model.resolve(request), steps=10)
    save_paused("half.safetensors", paused)
    ...
    paused = read_paused("half.safetensors")
    for step in model.steps(paused.resolve(model), record=paused.record):

The second run repeats the first ten steps without the network, which takes no time, and goes on.
See `recorded`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from ..images.depth import depth_map
from ..images.files import open_image
from ..images.masks import to_mask
from ..metadata.named_files import refuse_files
from ..models.weights import CheckpointError
from ..models.weights.beside import is_paused
from ..models.weights.opening import open_checkpoint
from ..models.weights.write_safetensors import write_safetensors
from ..request import Request
from ..runtime.files import replacing
from .makers.depth import depth_of

if TYPE_CHECKING:
    from PIL.Image import Image

    from .job import Job
    from .model import LatentDiffusion


@dataclass(frozen=True)
class Paused:
    """request      settled, of one batch
    model        the name of the model that was drawing
    record       the denoised latents so far, a call of the denoiser each: (B, Z, H/f, W/f)
    image, mask  what lies in the files of these names in the request
    depth        the depth map, given or estimated
    """

    request: Request
    model: str
    record: list[Tensor]
    image: Image | None = None
    mask: Image | None = None
    depth: Tensor | None = None

    def resolve(self, model: LatentDiffusion) -> Job:
        """What is to be drawn to its end. ValueError: the record is of something else."""
        job = model.resolve(self.request, self.image, self.mask, depth=self.depth)
        channels, factor = model.vae.config.latent_channels, model.vae.factor
        total, sizes = job.request.total, [part.latent_size(factor) for part in job.passes]
        for denoised in self.record:
            if tuple(denoised.shape) not in [(total, channels, *size) for size in sizes]:
                shape = tuple(denoised.shape)
                raise ValueError(f"the record is of another drawing: denoised latents {shape}")
        if job.request.cache:  # the held maps, from the last whole call on, were not kept
            del self.record[len(self.record) // job.request.cache * job.request.cache :]
        return job


def pause(
    model: LatentDiffusion,
    job: Job,
    steps: int,
    image: Image | None = None,
    mask: Image | None = None,
) -> Paused:
    """Run so many steps of a job, and keep what is needed to go on.

    image, mask   those that the job was resolved with, where its request names no files of them
    """
    named = job.request
    image = open_image(named.image) if image is None and named.image is not None else image
    mask = open_image(named.mask, to_mask) if mask is None and named.mask is not None else mask
    if job.init is not None and image is None:
        raise ValueError("the picture that this starts from must be kept, too: give it as image")
    if "depth" in model.family.conditioning:
        job = replace(job, depth=depth_of(model, job))
    record: list[Tensor] = []
    for step in model.steps(job, record=record):
        if step.index + 1 == steps:
            break
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


def read_paused(path: str | Path, **files: Any) -> Paused:
    """The inverse of `save_paused`. CheckpointError: it is another file, or damaged. ValueError: it
    names files that it does not hold, see `named_files`.

    files   fields of the request that name files: given anew, in place of what is in the paused one
    """
    opened = open_checkpoint(path)
    if not is_paused(opened):
        raise CheckpointError(f"{path} is no paused drawing: give a file that --pause_after made")
    request = Request.from_json(opened.metadata["request"])
    held = {name: opened.weights[name].read() for name in HELD if name in opened.weights}
    known = {*held, *(["depth_model"] if "depth" in held else [])}  # it is not estimated again
    refuse_files(path, request, files, known)
    calls = range(sum(name.startswith("denoised.") for name in opened.weights))
    try:
        record = [opened.weights[f"denoised.{i}"].read() for i in calls]
        own = {name: HELD[name](tensor) for name, tensor in held.items() if name not in files}
    except (KeyError, ValueError) as error:
        raise CheckpointError(f"{path} is damaged, as a paused drawing: {error}") from None
    return Paused(replace(request, **files), opened.metadata["model"], record, **own)


def to_picture(pixels: Tensor) -> Image:
    """(H, W, 3) of bytes -> PIL's"""
    from PIL import Image

    if pixels.dtype != torch.uint8 or pixels.ndim != 3 or 0 in pixels.shape or pixels.shape[2] != 3:
        raise ValueError(f"a picture of {pixels.dtype} {tuple(pixels.shape)}")
    return Image.fromarray(pixels.numpy())


HELD: dict[str, Callable[[Tensor], Any]] = {  # besides the record: fields, and how they are made
    "image": to_picture,
    "mask": to_picture,
    "depth": depth_map,
}
