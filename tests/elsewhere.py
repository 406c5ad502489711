"""A GPU that is not there: tensors that say they are on CUDA, compute on the CPU, and keep a GPU's
rules.

    with pretending() as gpu:
        model = to_gpu(gpu, build_tiny())
        model.generate(watched(gpu, model.resolve(request)))

An operation on a tensor of the GPU and on one of the host is refused, but for a host tensor without
dimensions, which CUDA takes, and for what copies from the one to the other. While the loop runs,
what would make the host wait is refused, too: a value that is read back, and a shape that depends
on values.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter, tree_map_only

from ldm.pipeline.job import Job
from ldm.pipeline.model import LatentDiffusion
from ldm.pipeline.passes import Pass
from ldm.samplers import Step

GPU = torch.device("cuda:0")
ATTENTION = F.scaled_dot_product_attention
aten = torch.ops.aten
COPIES = (aten._to_copy.default, aten.copy_.default)
WAITS = (  # a value goes to the host, or the host must know how many there are
    aten._local_scalar_dense,
    aten.equal,
    aten.is_nonzero,
    aten.nonzero,
    aten.masked_select,
    aten._unique2,
    aten.repeat_interleave,
)
INDEXING = (aten.index, aten.index_put, aten.index_put_, aten._index_put_impl_)


class OnGpu(Tensor):
    """A tensor that says it is on CUDA. inner: its numbers, on the CPU."""

    inner: Tensor

    @staticmethod
    def __new__(cls, inner: Tensor) -> "OnGpu":
        made: OnGpu = Tensor._make_wrapper_subclass(
            cls,
            inner.shape,
            strides=inner.stride(),
            storage_offset=inner.storage_offset(),
            dtype=inner.dtype,
            device="meta",  # for torch's inside, which looks for a driver of others
        )
        made.inner = inner
        return made

    @property
    def device(self) -> torch.device:
        return GPU

    @property
    def is_cuda(self) -> bool:
        return True

    @property
    def is_meta(self) -> bool:
        return False

    @property
    def data(self) -> "OnGpu":
        return self.detach()

    @data.setter
    def data(self, new: "OnGpu") -> None:
        if not isinstance(new, OnGpu):
            raise Mixed("a tensor of the host in the place of one on the GPU")
        self.inner = new.inner

    def new_tensor(self, values: Any) -> Tensor:
        return torch.tensor(values, dtype=self.dtype).to(GPU)

    def __getitem__(self, index: Any) -> Any:
        return super().__getitem__(sent(index))

    def __setitem__(self, index: Any, value: Any) -> None:
        super().__setitem__(sent(index), value)

    def __repr__(self, *, tensor_contents: object = None) -> str:
        return f"OnGpu({tuple(self.shape)}, {self.dtype})"

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is Tensor.to and len(args) == 2 and isinstance(args[1], OnGpu):
            args = args[0], GPU, args[1].dtype
        with torch._C.DisableTorchFunctionSubclass():
            return func(*args, **(kwargs or {}))

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        raise AssertionError(f"{func} outside of Elsewhere")


def sent(index: Any) -> Any:
    """An index whose lists are on the GPU, where torch copies them, too."""
    if isinstance(index, tuple):
        return tuple(sent(one) for one in index)
    return torch.tensor(index).to(GPU) if isinstance(index, list | range) else index


class Mixed(AssertionError):
    """Host and GPU in one operation."""


class Waits(AssertionError):
    """The host waits for the GPU."""


class Elsewhere(TorchDispatchMode):
    """strict   whether nothing may wait now; see `running`
    calls    of networks that have begun
    """

    def __init__(self) -> None:
        super().__init__()
        self.strict, self.calls = False, 0

    def __enter__(self) -> "Elsewhere":
        torch._C._set_only_lift_cpu_tensors(True)  # torch.tensor(..., device="cuda") is a copy
        super().__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        torch._C._set_only_lift_cpu_tensors(False)

    def event(self) -> SimpleNamespace:
        """torch.cuda.Event of a GPU that is as slow as can be: it has done what was asked before
        the last call of a network, and nothing since."""
        asked = 0

        def record() -> None:
            nonlocal asked
            asked = self.calls

        def synchronize() -> None:
            if self.strict and asked == self.calls:
                raise Waits("an event of the step that is being done")

        return SimpleNamespace(record=record, synchronize=synchronize)

    @contextmanager
    def running(self, strict: bool = True) -> Iterator[None]:
        before, self.strict = self.strict, strict
        try:
            yield
        finally:
            self.strict = before

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        given = [x for x in tree_iter((args, kwargs)) if isinstance(x, Tensor)]
        here = [x for x in given if not isinstance(x, OnGpu)]
        there = [x for x in given if isinstance(x, OnGpu)]
        copies, to = func in COPIES, kwargs.get("device")
        if there and any(x.ndim for x in here) and not copies:
            shapes = [(tuple(x.shape), str(x.device)) for x in given]
            raise Mixed(f"{func} of tensors here and on the GPU: {shapes}")
        if self.strict and there:
            self.refuse_waiting(func, args, kwargs, there)
        on_gpu = bool(there)
        if func is aten.copy_.default:
            on_gpu = isinstance(args[0], OnGpu)
        elif to is not None:
            kind, kwargs = torch.device(to).type, {**kwargs, "device": "cpu"}
            on_gpu = kind == "cuda" or (on_gpu and kind == "meta")  # see OnGpu
        plain = tree_map_only(OnGpu, lambda x: x.inner, (args, kwargs))
        result = func(*plain[0], **plain[1])
        if func._schema.is_mutable and isinstance(result, Tensor):
            return args[0] if func._schema.name.endswith("_") else kwargs["out"]
        if func is aten._local_scalar_dense.default or not on_gpu:
            return result
        return tree_map_only(Tensor, OnGpu, result)

    def refuse_waiting(self, func: Any, args: Any, kwargs: Any, there: list[OnGpu]) -> None:
        packet, to = func.overloadpacket, kwargs.get("device")
        back = to is not None and torch.device(to).type == "cpu" and not kwargs.get("non_blocking")
        back |= func is aten.copy_.default and not isinstance(args[0], OnGpu)
        masked = packet in INDEXING and any(
            x is not None and x.dtype in (torch.bool, torch.uint8) for x in args[1]
        )
        if packet in WAITS or back or masked:
            what = [(tuple(x.shape), x.dtype) for x in there]
            raise Waits(f"{func} of {what} waits for the GPU")


def attention(q: Tensor, k: Tensor, v: Tensor, **how: Any) -> Tensor:
    """F.scaled_dot_product_attention in one operation, as on a GPU; here torch would make masks of
    its own, on the device that it takes these tensors to be on."""
    given = [x for x in (q, k, v, *how.values()) if isinstance(x, Tensor)]
    if not any(isinstance(x, OnGpu) for x in given):
        return ATTENTION(q, k, v, **how)
    if not all(isinstance(x, OnGpu) for x in given):
        raise Mixed("attention of tensors here and on the GPU")
    q, k, v, how = tree_map_only(OnGpu, lambda x: x.inner, (q, k, v, how))
    return OnGpu(ATTENTION(q, k, v, **how))


@contextmanager
def pretending() -> Iterator[Elsewhere]:
    """Elsewhere, with what this library asks of torch.cuda."""
    gpu, cuda = Elsewhere(), torch.cuda
    with (
        patch.object(cuda, "_lazy_init", lambda: None),
        patch.object(cuda, "Event", gpu.event),
        patch.object(cuda, "mem_get_info", lambda device=None: (10**10, 10**10)),
        patch.object(cuda, "memory_reserved", lambda device=None: 0),
        patch.object(cuda, "memory_allocated", lambda device=None: 0),
        patch.object(F, "scaled_dot_product_attention", attention),
        gpu,
    ):
        yield gpu


def to_gpu(gpu: Elsewhere, model: LatentDiffusion) -> LatentDiffusion:
    """The model on it; each call of its U-Net is counted."""

    def count(*_: object) -> None:
        gpu.calls += 1

    for network in (
        *(tower.encoder for tower in model.towers),
        model.unet,
        model.vae,
        model.others,
    ):
        network.to(GPU)
    model.unet.register_forward_pre_hook(count)
    return model


def watched(gpu: Elsewhere, job: Job, strict: bool = True) -> Job:
    """The job, whose samplers run while nothing may wait: not what happens between two steps."""

    def guarded(run: Any, *args: Any, **options: Any) -> Iterator[Step]:
        steps = run(*args, **options)
        while True:
            with gpu.running(strict):
                step = next(steps, None)
            if step is None:
                return
            yield step

    def guard(part: Pass) -> Pass:
        return replace(part, sampler=replace(part.sampler, run=partial(guarded, part.sampler.run)))

    return replace(job, passes=tuple(map(guard, job.passes)))


def on_host(x: Tensor) -> Tensor:
    """Its numbers, outside of the mode too."""
    return x.inner if isinstance(x, OnGpu) else x
