"""What lies at a path: told by its content, never by its name, and opened without reading a single
tensor."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from .errors import CheckpointError
from .folder_files import find_folder, weights_in
from .guess import looks_like
from .mapped import MappedFile, Weight
from .safetensors import is_safetensors, read_safetensors
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
    try:
        if alone and (files := weights_in(path)):
            return replace(open_file(files[0]), weights=weights_of(files))
        return open_folder(path) if path.is_dir() else open_file(path)
    except FileNotFoundError as error:
        raise CheckpointError(f"there is no file or folder {error.filename}") from error
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror}") from error


def open_folder(path: Path) -> OpenedCheckpoint:
    found = find_folder(path)
    weights = {
        f"{part}.{name}": weight
        for part, files in found.files.items()
        for name, weight in weights_of(files).items()
    }
    return OpenedCheckpoint(path, "folder", weights, configs=found.configs, merges=found.merges)


def weights_of(files: list[Path]) -> dict[str, Weight]:
    """Of one network. CheckpointError: a tensor is in two of its files."""
    weights: dict[str, Weight] = {}
    for file in files:
        found = open_file(file).weights
        if twice := weights.keys() & found.keys():
            raise CheckpointError(
                f"{file} holds {min(twice)}, which another of its files holds too"
            )
        weights |= found
    return weights


def open_file(path: Path) -> OpenedCheckpoint:
    with path.open("rb") as file:
        start = file.read(1024)
    if not start:
        raise CheckpointError(f"{path} is empty: download it again")
    if not (is_safetensors(start) or is_zip(start) or is_legacy(start)):
        raise CheckpointError(f"{path} is not a checkpoint: {looks_like(start)}")
    mapped = MappedFile(path)
    if is_safetensors(start):
        weights, metadata = read_safetensors(mapped)
        return OpenedCheckpoint(
            path, "safetensors", weights, metadata, merges=metadata.get("merges")
        )
    return OpenedCheckpoint(
        path, "torch", read_zip(mapped) if is_zip(start) else read_legacy(mapped)
    )
