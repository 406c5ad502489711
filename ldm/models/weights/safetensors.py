"""The safetensors format: the length of a header, a header in JSON, and the bytes of the tensors,
one after the other.

https://github.com/huggingface/safetensors#format. It holds nothing that could run.
"""

import json
import math
from typing import Any

import torch

from .errors import CheckpointError, cut_short, gigabytes
from .mapped import MappedFile, Weight, are_sizes, contiguous_stride

MAX_HEADER = 100_000_000  # bytes; the format's own limit
# What is read here: a hundred times the header of Stable Diffusion 1, and forty times its tensors.
MAX_TEXT, MAX_TENSORS = 16_000_000, 50_000

DTYPES = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn, "F8_E5M2": torch.float8_e5m2,
    "I64": torch.int64, "I32": torch.int32, "I16": torch.int16, "I8": torch.int8,
    "U8": torch.uint8, "BOOL": torch.bool,
}  # fmt: skip


def is_safetensors(start: bytes) -> bool:
    """By the first bytes of a file."""
    return (
        len(start) > 8 and start[8:9] == b"{" and int.from_bytes(start[:8], "little") <= MAX_HEADER
    )


def read_safetensors(file: MappedFile) -> tuple[dict[str, Weight], dict[str, str]]:
    """The tensors of a file by their names, and the header's metadata. CheckpointError if the file
    is damaged."""
    begin = 8 + int.from_bytes(file.bytes[:8], "little")
    if begin > len(file):
        raise CheckpointError(
            f"{file.path} is cut short: only {gigabytes(len(file))} of it are here; "
            "download it again"
        )
    if begin - 8 > MAX_TEXT:
        raise CheckpointError(
            f"{file.path} has a header of {gigabytes(begin - 8)}, and no checkpoint has more than "
            f"{gigabytes(MAX_TEXT)} of it"
        )
    try:
        header = json.loads(file.bytes[8:begin].decode(), object_pairs_hook=_without_twins)
        metadata = header.pop("__metadata__", {})
        if not all(isinstance(text, str) for text in metadata.values()):
            raise ValueError("its metadata is not text")
        if len(header) > MAX_TENSORS:
            raise ValueError(f"it has {len(header)} tensors: more than {MAX_TENSORS}")
        weights = {name: _weight(file, begin, name, entry) for name, entry in header.items()}
        end = _end(file, begin, weights)
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise CheckpointError(f"{file.path} has a damaged safetensors header: {error}") from error
    if end > len(file):
        raise cut_short(file.path, len(file), end)
    if end < len(file):
        raise CheckpointError(
            f"{file.path} is damaged: {len(file) - end} bytes follow after its last tensor"
        )
    return weights, metadata


def _without_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a name stands in it twice")
    return found


def _weight(file: MappedFile, begin: int, name: str, entry: Any) -> Weight:
    if not isinstance(entry, dict) or entry.keys() != {"dtype", "shape", "data_offsets"}:
        raise ValueError(f"{name} is not described by a dtype, a shape and data_offsets")
    if entry["dtype"] not in DTYPES:
        raise ValueError(f"{name} is of type {entry['dtype']}, which is unknown")
    if not are_sizes(entry["shape"]) or not are_sizes(entry["data_offsets"]):
        raise ValueError(f"{name} has sizes or offsets that cannot be")
    shape, (start, end) = tuple(entry["shape"]), entry["data_offsets"]
    dtype = DTYPES[entry["dtype"]]
    if end - start != math.prod(shape) * dtype.itemsize:
        raise ValueError(f"{name} of shape {shape} does not fill its {end - start} bytes")
    return Weight(file, dtype, shape, contiguous_stride(shape), begin + start)


def _end(file: MappedFile, begin: int, weights: dict[str, Weight]) -> int:
    """Where the last tensor ends, and with it the file. There are no gaps and no overlaps."""
    end = begin
    for name, weight in sorted(weights.items(), key=lambda item: (item[1].offset, item[1].nbytes)):
        if weight.offset != end:
            raise ValueError(
                f"{name} begins {weight.offset - end} bytes after its predecessor's end"
            )
        end += weight.nbytes
    return end
