"""What lies at a path: told by its content, never by its name, and opened without reading a single
tensor."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..family import Family, parameter_shapes
from .errors import CheckpointError
from .guess import looks_like
from .mapped import MappedFile, Weight, is_safetensors, read_safetensors
from .torchfile import is_legacy, is_zip, read_legacy, read_zip


@dataclass(frozen=True)
class OpenedCheckpoint:
    """container   safetensors, torch or folder
    weights     all tensors by their names; in a folder <part>.<name>
    metadata    of a safetensors header
    configs     of a diffusers folder, by the names of their folders
    merges      of the tokenizer, one a line, if there are any
    """

    path: Path
    container: str
    weights: dict[str, Weight]
    metadata: Mapping[str, str] = field(default_factory=dict)
    configs: Mapping[str, Any] = field(default_factory=dict)
    merges: str | None = None


def open_checkpoint(path: str | Path, alone: bool = False) -> OpenedCheckpoint:
    """A file, or a diffusers folder. CheckpointError says what is there instead.

    alone   it may also be the folder of one network within a diffusers folder
    """
    path = Path(os.path.expanduser(path))  # Path.expanduser raises where there is no such user
    from .folder_files import open_folder  # which opens files, too

    try:
        found = open_folder(path, alone) if path.is_dir() else open_file(path)
        if "embedder.model.visual.proj" not in found.weights:
            return found
        from .clip_stats import with_stats

        return with_stats(found)
    except FileNotFoundError as error:
        raise CheckpointError(f"there is no file or folder {error.filename}") from error
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror}") from error


def open_file(path: Path) -> OpenedCheckpoint:
    with path.open("rb") as file:
        start = file.read(1024)
    if not start:
        raise CheckpointError(f"{path} is empty: download it again")
    if is_safetensors(start):
        weights, metadata = read_safetensors(MappedFile(path))
        merges = metadata.get("merges")
        return OpenedCheckpoint(path, "safetensors", weights, metadata, merges=merges)
    if not (is_zip(start) or is_legacy(start)):
        raise CheckpointError(f"{path} is not a checkpoint: {looks_like(start)}")
    weights = (read_zip if is_zip(start) else read_legacy)(MappedFile(path))
    return OpenedCheckpoint(path, "torch", weights)


def stated_family(opened: OpenedCheckpoint) -> Family:
    """The family in the header of a file that this library wrote."""
    try:
        family = Family.from_dict(json.loads(opened.metadata["family"]))
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{opened.path} states a family that cannot be: {error}") from error
    return buildable(family, opened)


def buildable(family: Family, opened: OpenedCheckpoint) -> Family:
    """A family that a file describes may be nonsense: too large to be what is in it, or of sizes
    that do not fit."""
    if least_layers(family) > (limit := len(opened.weights)):
        raise CheckpointError(f"{opened.path} describes more layers than it has tensors: {limit}")
    try:
        parameter_shapes(family)
    except (ValueError, TypeError, RuntimeError, OverflowError, ZeroDivisionError) as error:
        reason = str(error).partition("\n")[0]  # torch adds its C++ trace
        what = f"networks that cannot be built: {reason}"
        raise CheckpointError(f"{opened.path} describes {what}") from error
    return family


def least_layers(family: Family) -> int:
    """Fewer than there are: the blocks of all networks, each of which has several layers."""
    unet, vae = family.unet, family.vae
    down = unet.res_blocks * sum(1 + depth for depth in unet.depth)
    up = sum(map(sum, unet.up_depth)) if unet.up_depth else down
    blocks = down + (unet.mid_depth or 0) + up + 2 * vae.res_blocks * len(vae.channels)
    vision = 0 if family.vision is None else family.vision.layers
    return blocks + sum(tower.layers for tower in family.text) + vision
