"""The bytes that pickles are read from."""

from typing import Protocol

MAX_PICKLE = 16_000_000  # bytes; that of Stable Diffusion 1 has 200,000


class Bytes(Protocol):
    """bytes, or a mapped file."""

    def find(self, part: bytes, start: int, end: int, /) -> int: ...
    def __getitem__(self, part: slice, /) -> bytes: ...
    def __len__(self) -> int: ...


class Stream:
    """Reads bytes from a position on, and no more than MAX_PICKLE of them."""

    def __init__(self, data: Bytes, position: int = 0) -> None:
        self.data, self.position = data, position
        self.end = position + MAX_PICKLE

    def read(self, size: int) -> bytes:
        start, self.position = self.position, self.position + size
        if self.position > self.end:
            raise ValueError(f"it has more than {MAX_PICKLE} bytes beside its tensors")
        return self.data[start : self.position]

    def readline(self) -> bytes:
        end = self.data.find(b"\n", self.position, self.end)
        last = min(len(self.data), self.end + 1)
        return self.read((last if end < 0 else end + 1) - self.position)
