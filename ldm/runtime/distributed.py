"""Several processes that share the work, as torchrun starts them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed as dist

T = TypeVar("T")


@dataclass(frozen=True)
class Processes:
    """Which of the processes this is: 0 to size - 1. Each does its share; they agree on what rank 0
    says."""

    rank: int
    size: int

    def share(self, work: Sequence[T]) -> Sequence[T]:
        """Every size-th piece of the work, which is the same list in each process."""
        return work[self.rank :: self.size]

    def agree(self, value: T) -> T:
        """Rank 0's value."""
        values = [value]
        if self.size > 1:
            dist.broadcast_object_list(values)
        return values[0]

    def collect(self, items: list[T]) -> list[T]:
        """At rank 0 the items of all processes, once all of them are here; elsewhere none."""
        if self.size == 1:
            return items
        lists: list[list[T]] = [[] for _ in range(self.size)]
        dist.gather_object(items, lists if self.rank == 0 else None)
        return [item for each in lists for item in each]


@contextmanager
def processes(backend: str = "gloo") -> Iterator[Processes]:
    """The processes that the environment names: RANK, WORLD_SIZE, and MASTER_ADDR and MASTER_PORT
    to meet at. backend: of torch.distributed."""
    try:
        found = Processes(int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1)))
    except ValueError:
        raise ValueError(
            "RANK and WORLD_SIZE in the environment must be whole numbers: start with torchrun"
        ) from None
    if found.size == 1:
        yield found
        return
    dist.init_process_group(backend, timeout=timedelta(days=30))
    try:
        yield found
    finally:
        dist.destroy_process_group()


def own_gpu(device: torch.device) -> torch.device:
    """Of several GPUs, the one that is left to this process of those on its machine
    (LOCAL_RANK)."""
    rank = os.environ.get("LOCAL_RANK", "")
    if device.type != "cuda" or device.index is not None or not rank.isdecimal():
        return device
    return torch.device("cuda", int(rank) % torch.cuda.device_count())
