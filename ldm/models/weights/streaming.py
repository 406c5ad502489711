"""Large files made from large files, one tensor after the other."""

import json
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ...runtime.files import replacing
from .loading import check_finite
from .mapped import Weight
from .opening import OpenedCheckpoint
from .saving import is_empty_folder
from .write_safetensors import NAMES, _bytes


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


def write_stream(
    path: Path,
    kinds: Mapping[str, tuple[torch.dtype, tuple[int, ...]]],
    tensors: Iterator[tuple[str, Tensor]],
    metadata: Mapping[str, str],
) -> None:
    """A safetensors file of these types and shapes, whose tensors come one by one, in any order.
    It is there when it is whole. ValueError: one is not as was said."""
    header: dict[str, Any] = {"__metadata__": dict(metadata)}
    places, offset = dict[str, int](), 0
    for name, (dtype, shape) in sorted(kinds.items(), key=lambda kind: -kind[1][0].itemsize):
        end = offset + torch.Size(shape).numel() * dtype.itemsize
        header[name] = {"dtype": NAMES[dtype], "shape": list(shape), "data_offsets": [offset, end]}
        places[name], offset = offset, end
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with replacing(path) as temporary, temporary.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for name, tensor in tensors:
            if kinds[name] != (tensor.dtype, tuple(tensor.shape)):
                raise ValueError(f"{name} is {tensor.dtype} {tuple(tensor.shape)}: another kind")
            file.seek(8 + len(text) + places.pop(name))
            file.write(_bytes(tensor))
        if places:
            raise ValueError(f"{next(iter(places))} was not written")
        file.truncate(8 + len(text) + offset)
        os.fsync(file.fileno())


def target(path: str | Path) -> Path:
    """Where a file is to be written. ValueError: it cannot be a safetensors file."""
    path = Path(os.path.expanduser(path))
    if path.suffix != ".safetensors" or (path.is_dir() and not is_empty_folder(path)):
        raise ValueError(f"{path} should be a file that ends in .safetensors")
    return path


def kind_of(weight: Weight) -> tuple[torch.dtype, tuple[int, ...]]:
    return weight.dtype, weight.shape
