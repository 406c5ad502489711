"""Training in several processes, each of which learns from its part of every batch.

Li et al. 2020, "PyTorch Distributed": all have the same weights, and take the same step, down the
mean of their gradients. A batch is drawn whole in each, so that it is the same whatever their
number. They share a folder, into which the first one, rank 0, writes.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from ..runtime.distributed import Processes

Terms = Mapping[str, Tensor]
T = TypeVar("T")


def team() -> Processes:
    """Those that `runtime.distributed.processes` has brought together; else this one alone."""
    if dist.is_available() and dist.is_initialized():
        return Processes(dist.get_rank(), dist.get_world_size())
    return Processes(0, 1)


@contextmanager
def first_alone() -> Iterator[None]:
    """Rank 0 does it while the others wait; they do it then, and find the files that it wrote."""
    ours = team()
    if ours.rank > 0:
        ours.agree(None)
    yield
    if ours.rank == 0:
        ours.agree(None)


def by_first(make: Callable[[], T]) -> T:
    """What rank 0 makes; the others wait for it."""
    ours = team()
    made: Any = make() if ours.rank == 0 else None
    return ours.agree(made)  # type: ignore[no-any-return]


def check_batch(count: int, ours: Processes) -> None:
    """ValueError if so many examples (of crops: pictures) leave a process without any."""
    if count < ours.size:
        raise ValueError(f"a batch of {count} is too small for {ours.size} processes: start fewer")


class SharedLoss(nn.Module):
    """The loss of this process's part of a batch, as a network that the gradients come through.

    The parts may differ in size by one example. The loss is weighed by the size, so that the mean
    over the processes is the mean over the batch.

    module   holds the parameters
    loss     (module, what was drawn) -> terms, see `Stage`
    """

    def __init__(self, module: nn.Module, loss: Callable[[Any, Terms], Terms]) -> None:
        super().__init__()
        self.module, self.of, self.team = module, loss, team()

    def forward(self, drawn: Terms) -> dict[str, Tensor]:
        count = len(next(iter(drawn.values())))
        check_batch(count, self.team)
        start, end = (
            count * rank // self.team.size for rank in (self.team.rank, self.team.rank + 1)
        )
        weight = (end - start) * self.team.size / count
        terms = self.of(self.module, {name: part[start:end] for name, part in drawn.items()})
        return {name: weight * term for name, term in terms.items()}


def shared(module: nn.Module, loss: Callable[[Any, Terms], Terms]) -> Callable[[Terms], Terms]:
    """The loss as a function of what was drawn; of several processes, that of this one's part."""
    ours = SharedLoss(module, loss)
    if ours.team.size == 1:
        return lambda drawn: loss(module, drawn)
    # a stage may have no use for a part of its module
    return DistributedDataParallel(ours, find_unused_parameters=True)


def mean(terms: Terms) -> dict[str, float]:
    """The values of the terms, over the whole batch: every process must ask."""
    ours = team()
    values = torch.stack([term.detach().float() for term in terms.values()])
    if ours.size > 1:
        dist.all_reduce(values)
        values /= ours.size
    return dict(zip(terms, values.tolist(), strict=True))
