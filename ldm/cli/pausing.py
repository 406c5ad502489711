"""Drawings that are left after some steps, and taken up again."""

from pathlib import Path

from torch import Tensor

from ..images import open_image
from ..pause import Paused
from ..pipeline import LatentDiffusion
from ..request import Request
from .folder import Folder


def pause(model: LatentDiffusion, request: Request, steps: int, folder: Folder, index: int) -> Path:
    """Run so many steps of a settled request, and leave what is needed to go on in the index-th file of this run."""
    record: list[Tensor] = []
    for step in model.steps(request, record=record):
        if step.index + 1 == steps:
            break
    image, mask = (None if path is None else open_image(path) for path in (request.image, request.mask))
    return folder.save_paused(index, Paused(request, model.name, record, image, mask))


def go_on(model: LatentDiffusion, path: Path, paused: Paused, folder: Folder, first: int) -> list[Path]:
    """The pictures of what was left in the file `path`: the first of them is the first-th of this run."""
    if paused.model != model.name:
        raise ValueError(f"{path} was begun by the model {paused.model}, not {model.name}: give that one with --ckpt")
    request, canvas = model.settle(paused.request, paused.image, paused.mask)
    for step in model.steps(request, canvas, paused.record):
        latents = step.x
    pictures = zip(model.pictures(latents, request, canvas), model.singles(request))
    return [folder.save(i, picture, model.metadata(its)) for i, (picture, its) in enumerate(pictures, first)]
