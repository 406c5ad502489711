"""A computation that has to stay finite; and which module broke it, where it did not."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class NotFinite(RuntimeError):
    """No picture can be made: a network gave NaN or infinity, or a picture that is black all
    over."""


def finite(run: Callable[[], Tensor], modules: Mapping[str, nn.Module], where: str) -> Tensor:
    """run(), which has to be finite; else `broken` is raised."""
    result = run()
    if not result.isfinite().all():
        raise broken(run, modules, where)
    return result


def broken(run: Callable[[], Tensor], modules: Mapping[str, nn.Module], where: str) -> NotFinite:
    """The error for a run() that gave NaN or infinity: it names the first of the modules, by name,
    whose result was so, and says what may help.

    `where` says when that was. run() is repeated, with a hook on every module.
    """
    first = first_broken(run, modules)
    what = "the result has NaN or infinity" if first is None else f"{first} gives NaN or infinity"
    dtypes = {p.dtype for module in modules.values() for p in module.parameters()}
    narrow = sorted(str(dtype) for dtype in dtypes - {torch.float32, torch.float64})
    advice = "the weights may be damaged, or the guidance scale too large"
    if narrow:
        advice = f"{narrow[0]} may be too narrow for this model: try --dtype float32"
    return NotFinite(f"{where}: {what}. No picture was made of it; {advice}")


def first_broken(run: Callable[[], Tensor], modules: Mapping[str, nn.Module]) -> str | None:
    """The name of the first module to give a NaN or an infinity in run()."""
    found: list[str] = []

    def watch(name: str) -> Callable[[nn.Module, object, object], None]:
        def look(module: nn.Module, inputs: object, output: object) -> None:
            if not found and isinstance(output, Tensor) and not output.isfinite().all():
                found.append(name)

        return look

    named = [pair for prefix, root in modules.items() for pair in root.named_modules(prefix=prefix)]
    hooks = [module.register_forward_hook(watch(name)) for name, module in named]
    try:
        with as_written(module for _, module in named):
            run()
    finally:
        for hook in hooks:
            hook.remove()
    return found[0] if found else None


@contextmanager
def as_written(modules: Iterable[nn.Module]) -> Iterator[None]:
    """While it lasts, modules that torch compiles run line by line: compiling them once more, with
    hooks, would take minutes."""
    compiled = [(module, module._compiled_call_impl) for module in modules]
    try:
        for module, _ in compiled:
            module._compiled_call_impl = None
        yield
    finally:
        for module, call in compiled:
            module._compiled_call_impl = call
