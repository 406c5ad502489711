"""A family's three networks without memory: every parameter has its shape, and no values yet."""

from collections.abc import Callable
from functools import lru_cache
from itertools import islice
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from ..clip.model import TextEncoder
from ..families import Family
from ..keymaps import Naming, rows, table
from ..unet import UNet
from ..vae import VAE


class NoInitialisation(TorchFunctionMode):
    """Skips the random initialisation of layers: there is nothing to fill, and the first normal_ on torch's `meta`
    device would import 800 modules, which takes a second."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if getattr(func, "__name__", None) in ("normal_", "uniform_", "kaiming_uniform_"):
            return None
        return func(*args, **(kwargs or {}))


def skeleton(family: Family) -> nn.ModuleDict:
    """text, unet and vae, on the `meta` device."""
    with torch.device("meta"), NoInitialisation():
        return nn.ModuleDict({"text": TextEncoder(family.text), "unet": UNet(family.unet), "vae": VAE(family.vae)})


def layers_at_most(family: Family, limit: int) -> bool:
    """Whether the family is small enough to be what is in a file of `limit` tensors: asked before it is built."""
    return sum(1 for _ in islice(rows(family), limit + 1)) <= limit


@lru_cache(maxsize=16)
def shapes(family: Family, naming: Naming) -> dict[str, tuple[int, ...]]:
    """The shape of each parameter, by our name, as the naming has it."""
    parameters = skeleton(family).state_dict()
    sources = table(family, naming)
    return {name: tuple(source.operation.theirs(parameters[name]).shape) for name, source in sources.items()}
