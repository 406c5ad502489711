"""Writing the safetensors format, see `mapped`: one tensor after the other, each made when its turn
comes."""

import json
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .mapped import DTYPES

CHECKSUMS = "crc32"  # in the metadata: the CRC-32 of each tensor's bytes, in hexadecimal
NAMES = {dtype: name for name, dtype in DTYPES.items()}


@dataclass(frozen=True)
class Planned:
    """A tensor that is made when it is written, and then forgotten."""

    dtype: torch.dtype
    shape: tuple[int, ...]
    make: Callable[[], Tensor]


def write_safetensors(
    path: Path, tensors: Mapping[str, Tensor | Planned], metadata: Mapping[str, str]
) -> None:
    """Those of the widest type first, so that every number is at a multiple of its size. The
    metadata get a checksum of each, which is known when all is written: the header is written
    twice."""
    tensors = dict(sorted(tensors.items(), key=lambda item: -item[1].dtype.itemsize))
    sums = dict.fromkeys(tensors, 0)
    with path.open("wb") as file:
        file.write(header_of(tensors, metadata, sums))
        for name, tensor in tensors.items():
            data = _bytes(name, tensor)
            sums[name] = zlib.crc32(data)
            file.write(data)
            del data
        file.seek(0)
        file.write(header_of(tensors, metadata, sums))


def header_of(
    tensors: Mapping[str, Tensor | Planned], metadata: Mapping[str, str], sums: Mapping[str, int]
) -> bytes:
    """As long for any checksums."""
    digits = {name: f"{value:08x}" for name, value in sums.items()}
    told = dict(metadata) | {CHECKSUMS: json.dumps(digits, ensure_ascii=False)}
    header: dict[str, Any] = {"__metadata__": told}
    offset = 0
    for name, tensor in tensors.items():
        if tensor.dtype not in NAMES:
            raise ValueError(
                f"{name} is {tensor.dtype}, which safetensors files cannot hold: convert it first"
            )
        shape = list(tensor.shape)
        end = offset + torch.Size(shape).numel() * tensor.dtype.itemsize
        header[name] = {"dtype": NAMES[tensor.dtype], "shape": shape, "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def _bytes(name: str, tensor: Tensor | Planned) -> memoryview:
    made = tensor.make() if isinstance(tensor, Planned) else tensor
    if made.dtype != tensor.dtype or made.shape != tuple(tensor.shape):
        what = f"{tuple(made.shape)} of {made.dtype}"
        raise ValueError(f"{name} is {what}, not {tuple(tensor.shape)} of {tensor.dtype}")
    flat = made.detach().cpu().contiguous().reshape(-1)
    data: memoryview = flat.view(torch.uint8).numpy().data
    return data
