"""What a GPU is computing, read without holding it up."""

from collections.abc import Callable

import torch
from torch import Tensor


def later(flag: Tensor) -> Callable[[], bool]:
    """What reads a truth value that is being computed. On CUDA it is copied meanwhile: reading it
    then waits for what was asked of the GPU before, and not for what has been asked since."""
    if flag.device.type != "cuda":
        return lambda: bool(flag)
    copy, copied = flag.to("cpu", non_blocking=True), torch.cuda.Event()
    copied.record()

    def read() -> bool:
        copied.synchronize()
        return bool(copy)

    return read
