"""Tensors in a file that is mapped into memory: read when they are used, without a second copy.

The safetensors format is made for it: the length of a header, a header in JSON, and the bytes of
the tensors, one after the other. https://github.com/huggingface/safetensors#format. It holds
nothing that could run. Other formats have files of their own.
"""

import json
import math
import mmap
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .errors import CheckpointError, cut_short, gigabytes

MAX_HEADER = 100_000_000  # bytes; the format's own limit
# What is read here: a hundred times the header of Stable Diffusion 1, and forty times its tensors.
MAX_TEXT, MAX_TENSORS = 16_000_000, 50_000

DTYPES = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn, "F8_E5M2": torch.float8_e5m2,
    "I64": torch.int64, "I32": torch.int32, "I16": torch.int16, "I8": torch.int8,
    "U8": torch.uint8, "BOOL": torch.bool,
}  # fmt: skip


class MappedFile:
    """The bytes of a file, which is not empty. Whoever writes into them writes into a private copy,
    never the file."""

    def __init__(self, path: Path) -> None:
        with path.open("rb") as file:
            self.bytes = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
        self.path = path

    def __len__(self) -> int:
        return len(self.bytes)

    def forget(self, start: int, end: int) -> None:
        """Let the system have back the memory of bytes that have been copied elsewhere."""
        page = mmap.PAGESIZE
        first, last = -(-start // page) * page, end // page * page
        if hasattr(mmap, "MADV_DONTNEED") and first < last:
            self.bytes.madvise(mmap.MADV_DONTNEED, first, last - first)


@dataclass(frozen=True)
class Weight:
    """A tensor in a mapped file: known by its type and shape, and not read yet.

    shape, stride   in elements
    offset          of its first element from the start of the file, in bytes
    """

    file: MappedFile
    dtype: torch.dtype
    shape: tuple[int, ...]
    stride: tuple[int, ...]
    offset: int

    @property
    def nbytes(self) -> int:
        """From the first element to the last. 0 if there is none."""
        if 0 in self.shape:
            return 0
        last = sum((size - 1) * stride for size, stride in zip(self.shape, self.stride))
        return (last + 1) * self.dtype.itemsize

    def part(self, i: int, n: int) -> "Weight":
        """The i-th of n equal parts along the first axis."""
        if n == 1:
            return self
        rows = self.shape[0] // n
        offset = self.offset + i * rows * self.stride[0] * self.dtype.itemsize
        return replace(self, shape=(rows, *self.shape[1:]), offset=offset)

    def read(
        self,
        dtype: torch.dtype | None = None,
        device: torch.device | str = "cpu",
        copy: bool = False,
    ) -> Tensor:
        """The file's own memory; or a copy: if asked for, or of another type or device."""
        if self.nbytes == 0:
            return torch.empty(self.shape, dtype=dtype or self.dtype, device=device)
        mapped = self._elements().as_strided(self.shape, self.stride).contiguous()
        tensor = mapped.to(device, self.dtype if dtype is None else dtype, copy=copy)
        if tensor is not mapped:
            self.file.forget(self.offset, self.offset + self.nbytes)
        return tensor

    def _elements(self) -> Tensor:
        """Everything between the first element and the last, in a row."""
        if self.offset % self.dtype.itemsize == 0:
            count = self.nbytes // self.dtype.itemsize
            whole = self.file.bytes
            return torch.frombuffer(whole, dtype=self.dtype, count=count, offset=self.offset)
        copied = bytearray(self.file.bytes[self.offset : self.offset + self.nbytes])
        return torch.frombuffer(copied, dtype=self.dtype)  # at a multiple of the numbers' size


def are_sizes(numbers: Any) -> bool:
    """Whether these can be the sizes, strides or offsets of a tensor."""
    if not isinstance(numbers, list | tuple) or len(numbers) > 8:
        return False
    return all(type(number) is int and 0 <= number < 2**63 for number in numbers)


def contiguous_stride(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Of a tensor whose elements lie in a row, the last axis fastest.

    >>> contiguous_stride((4, 3, 5))
    (15, 5, 1)
    """
    return tuple(math.prod(shape[i + 1 :]) for i in range(len(shape)))


def is_safetensors(start: bytes) -> bool:
    """By the first bytes of a file."""
    return start[8:9] == b"{" and int.from_bytes(start[:8], "little") <= MAX_HEADER


def read_safetensors(file: MappedFile) -> tuple[dict[str, Weight], dict[str, str]]:
    """The tensors of a file by their names, and the header's metadata. CheckpointError if the file
    is damaged."""
    begin = 8 + int.from_bytes(file.bytes[:8], "little")
    if begin > len(file):
        here = f"only {gigabytes(len(file))} of it are here"
        raise CheckpointError(f"{file.path} is cut short: {here}; download it again")
    if begin - 8 > MAX_TEXT:
        what = f"{file.path} has a header of {gigabytes(begin - 8)}"
        raise CheckpointError(
            f"{what}, and no checkpoint has more than {gigabytes(MAX_TEXT)} of it"
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
    if (left := len(file) - end) > 0:
        raise CheckpointError(f"{file.path} is damaged: {left} bytes follow after its last tensor")
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
            gap = f"{weight.offset - end} bytes after its predecessor's end"
            raise ValueError(f"{name} begins {gap}")
        end += weight.nbytes
    return end
