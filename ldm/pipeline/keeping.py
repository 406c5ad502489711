"""Where a model is: on which device, in what numbers, in which file; methods of LatentDiffusion."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch

from ..clip.tokenizer import clip_merges
from ..models.weights import Checkpoint
from ..models.weights import save as write
from ..runtime.placing import Place, place
from .compiling import check_compiler, is_compiled

if TYPE_CHECKING:
    from ..models.keymaps import KeyFormat
    from .model import LatentDiffusion


def to(
    model: LatentDiffusion, *where: Place, device: Place = None, dtype: Place = None
) -> LatentDiffusion:
    """Move the networks and change their number format, in place; in any order. The VAE's
    weights stay in float32: it runs once a picture, and some families' overflows in float16.
    ValueError: it was loaded with `ram` or `vram`, or compiled, which torch cannot do there."""
    if model.memory is not None:
        what = f"a model that keeps to {model.memory.flag} stays where it is"
        raise ValueError(f"{what}: load it once more, with the device and dtype that are wanted")
    at, format = place(model.device, *where, device=device, dtype=dtype)
    if is_compiled(model.unet):
        check_compiler(at)
    for network in (*(tower.encoder for tower in model.towers), model.unet, model.others):
        network.to(at, format)
    model.vae.to(at, torch.float32)
    return model


def save(model: LatentDiffusion, path: str | Path, key_format: KeyFormat = "ldm") -> None:
    """Write the model to a file, or as "diffusers" to a folder, see `weights.save`."""
    encoders = tuple(tower.encoder for tower in model.towers)
    merges = None if model.tokenizer.merges == clip_merges() else model.tokenizer.merges
    parts = model.family, encoders, model.unet, model.vae, merges
    write(path, Checkpoint(*parts, others=model.others, depth=model.depth), key_format)
