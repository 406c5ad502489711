"""Parameters read from a checkpoint as they lie there, and where a new file goes."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..weights.loading import check_finite
from ..weights.opening import OpenedCheckpoint
from ..weights.saving import is_empty_folder


def tensors_of(
    opened: OpenedCheckpoint, sources: Mapping[str, Any], shapes: Mapping[str, torch.Size]
) -> Callable[[str], Tensor]:
    """What reads a parameter of ours from a checkpoint whose parameters have been located, as it is
    there: its type, in our shape."""

    def read(ours: str) -> Tensor:
        name, source = sources[ours]
        tensor = opened.weights[name].part(*source.part).read()
        tensor = tensor if source.operation is None else source.operation.ours(tensor)
        check_finite(tensor, f"{name} in {opened.path}")
        return tensor.reshape(shapes[ours])

    return read


def target(path: str | Path) -> Path:
    """Where a file is to be written. ValueError: it cannot be a safetensors file."""
    path = Path(os.path.expanduser(path))
    if path.suffix != ".safetensors" or (path.is_dir() and not is_empty_folder(path)):
        raise ValueError(f"{path} should be a file that ends in .safetensors")
    return path
