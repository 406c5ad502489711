"""What a GPU is computing, read without holding it up."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


def finite_later(x: Tensor) -> Callable[[], bool]:
    """What tells whether all of x is finite, which is found out meanwhile. On CUDA the answer is
    copied to the host: reading it then waits for what was asked of the GPU before, and not for what
    has been asked since."""
    found = x.isfinite().all()
    if x.device.type != "cuda":
        return lambda: bool(found)
    event: Any = torch.cuda.Event
    copy, copied = found.to("cpu", non_blocking=True), event()
    copied.record()

    def read() -> bool:
        copied.synchronize()
        return bool(copy)

    return read
