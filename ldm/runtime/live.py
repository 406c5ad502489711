"""How much memory a computation will need, found out before it is done.

It is run on torch's `meta` device, where tensors have shapes and no numbers: that takes no memory
and little time. Every result of an operation is counted for as long as something refers to it.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode


class Live(TorchFunctionMode):
    """Counts the bytes of the results of all functions of torch's while it lasts.

    now, peak   of what is referred to; and the most that ever was

    Attention has no matrix of all tokens by all tokens: kernels of CPUs and GPUs are fused.
    """

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self.counted = set[int]()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is F.scaled_dot_product_attention:
            q, v = args[0], args[2]
            size = len(q), q.shape[2], q.shape[1], v.shape[3]
            result = q.new_empty(size).transpose(1, 2)
        else:
            result = func(*args, **(kwargs or {}))
        given = {x.untyped_storage()._cdata for x in args if isinstance(x, Tensor)}
        for tensor in result if isinstance(result, tuple | list) else (result,):
            if isinstance(tensor, Tensor) and tensor.untyped_storage()._cdata not in given:
                self.count(tensor.untyped_storage())
        return result

    def count(self, storage: torch.UntypedStorage) -> None:
        """Once, until nothing holds it: views share one."""
        key, size = storage._cdata, storage.nbytes()
        if key not in self.counted:
            self.counted.add(key)
            self.now += size
            self.peak = max(self.peak, self.now)
            weakref.finalize(storage, self.forget, key, size)

    def forget(self, key: int, size: int) -> None:
        self.counted.discard(key)
        self.now -= size


def peak(run: Callable[[], object]) -> int:
    """The most bytes of results that are alive at once in run(), beside its weights and inputs."""
    live = Live()
    with live, torch.no_grad():
        run()
    return live.peak
