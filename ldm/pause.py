"""A sampling that was left, in a file: what was asked for, and every result of the denoiser so far.

    record = []
    for step in model.steps(request, record=record):
        if step.index + 1 == 10:
            break
    save_paused("half.safetensors", Paused(request, model.name, record))
    ...
    paused = read_paused("half.safetensors")
    for step in model.steps(paused.request, paused.image, paused.record):

The second run repeats the first ten steps without the network, which takes no time, and goes on. See `recorded`.
"""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from .request import Request
from .weights import CheckpointError
from .weights.opening import open_checkpoint
from .weights.safetensors import write_safetensors


@dataclass(frozen=True)
class Paused:
    """request  settled, of one batch
    model    the name of the model that was drawing
    record   the denoised latents so far, a call of the denoiser each: (B, Z, H/f, W/f)
    image    (1, 3, H, W), the picture that it started from, if it was one
    """

    request: Request
    model: str
    record: list[Tensor]
    image: Tensor | None = None


def save_paused(path: str | Path, paused: Paused) -> None:
    if not paused.record:
        raise ValueError("nothing has been computed yet: pause after the first step, or later")
    tensors = {"denoised": torch.stack(paused.record)}
    if paused.image is not None:
        tensors["image"] = paused.image
    tensors = {name: tensor.cpu().contiguous() for name, tensor in tensors.items()}
    write_safetensors(Path(path), tensors, {"request": paused.request.to_json(), "model": paused.model})


def read_paused(path: str | Path) -> Paused:
    """The inverse of `save_paused`. CheckpointError: it is another file, or damaged."""
    opened = open_checkpoint(path)
    if not {"request", "model"} <= opened.metadata.keys() or "denoised" not in opened.weights:
        raise CheckpointError(f"{path} is no paused drawing: give a file that --pause_after made")
    image = opened.weights.get("image")
    return Paused(
        Request.from_json(opened.metadata["request"]),
        opened.metadata["model"],
        list(opened.weights["denoised"].read()),
        None if image is None else image.read(),
    )
