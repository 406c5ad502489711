"""A file of tensors, mapped into memory: read when they are used, without a second copy."""

import math
import mmap
import zlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor


class MappedFile:
    """The bytes of a file, which is not empty. Whoever writes into them writes into a private copy,
    never the file."""

    def __init__(self, path: Path) -> None:
        with path.open("rb") as file:
            self.bytes = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
        self.path = path

    def __len__(self) -> int:
        return len(self.bytes)

    def crc32(self, start: int, end: int, step: int = 2**24) -> int:
        """The checksum of these bytes, a piece at a time."""
        value = 0
        for at in range(start, end, step):
            value = zlib.crc32(self.bytes[at : min(at + step, end)], value)
        self.forget(start, end)
        return value

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

    def read(self, dtype: torch.dtype | None = None, device: torch.device | str = "cpu") -> Tensor:
        """The tensor: the file's own memory where neither type nor device differ, else a copy.
        dtype None: as it is."""
        if self.nbytes == 0:
            return torch.empty(self.shape, dtype=dtype or self.dtype, device=device)
        mapped = self._elements().as_strided(self.shape, self.stride).contiguous()
        tensor = mapped.to(device, self.dtype if dtype is None else dtype)
        if tensor is not mapped:
            self.file.forget(self.offset, self.offset + self.nbytes)
        return tensor

    def _elements(self) -> Tensor:
        """Everything between the first element and the last, in a row."""
        if self.offset % self.dtype.itemsize == 0:
            count = self.nbytes // self.dtype.itemsize
            return torch.frombuffer(
                self.file.bytes, dtype=self.dtype, count=count, offset=self.offset
            )
        return torch.frombuffer(  # processors want numbers at multiples of their size
            bytearray(self.file.bytes[self.offset : self.offset + self.nbytes]), dtype=self.dtype
        )


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
