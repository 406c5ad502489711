"""Our own files: the header states the family, and a tensor has the name of the parameter it is."""

import json
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from ...clip.model import TextEncoder
from ...unet import UNet
from ...vae import VAE
from ..family import Family
from .errors import CheckpointError
from .opening import OpenedCheckpoint


def has_own_names(opened: OpenedCheckpoint) -> bool:
    return any(name.startswith("unet.stem.") for name in opened.weights)


def is_complete(opened: OpenedCheckpoint, family: Family) -> bool:
    """Whether it holds the family's parameters, all in their shapes, and nothing else."""
    found = {name: weight.shape for name, weight in opened.weights.items()}
    numbers = (weight.dtype.is_floating_point for weight in opened.weights.values())
    return found == parameter_shapes(family) and all(numbers)


def stated_family(opened: OpenedCheckpoint) -> Family:
    """The family in the header of a file that this library wrote."""
    try:
        family = Family.from_dict(json.loads(opened.metadata["family"]))
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{opened.path} states a family that cannot be: {error}") from error
    return buildable(family, opened)


def buildable(family: Family, opened: OpenedCheckpoint) -> Family:
    """A family that a file describes may be nonsense: too large to be what is in it, or of sizes
    that do not fit."""
    if least_layers(family) > (limit := len(opened.weights)):
        raise CheckpointError(f"{opened.path} describes more layers than it has tensors: {limit}")
    try:
        parameter_shapes(family)
    except (ValueError, TypeError, RuntimeError, OverflowError, ZeroDivisionError) as error:
        reason = str(error).partition("\n")[0]  # torch adds its C++ trace
        raise CheckpointError(
            f"{opened.path} describes networks that cannot be built: {reason}"
        ) from error
    return family


def least_layers(family: Family) -> int:
    """Fewer than there are: the blocks of all networks, each of which has several layers."""
    unet, vae = family.unet, family.vae
    blocks = 2 * unet.res_blocks * sum(1 + depth for depth in unet.depth) + unet.mid_depth
    return blocks + 2 * vae.res_blocks * len(vae.channels) + sum(t.layers for t in family.text)


@lru_cache(maxsize=16)
def parameter_shapes(family: Family) -> dict[str, torch.Size]:
    return {name: tensor.shape for name, tensor in meta_model(family).state_dict().items()}


class NoInitialisation(TorchFunctionMode):
    """Skips the random initialisation of layers: there is nothing to fill, and the first normal_ on
    torch's `meta` device would import 800 modules, which takes a second."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        if getattr(func, "__name__", None) in ("normal_", "uniform_", "kaiming_uniform_"):
            return None
        return func(*args, **(kwargs or {}))


def meta_model(family: Family) -> nn.ModuleDict:
    """A family's networks without memory, by the names of their components: every parameter has its
    shape, and no values yet."""
    with torch.device("meta"), NoInitialisation():
        towers = {
            f"text{i + 1 if i else ''}": TextEncoder(config) for i, config in enumerate(family.text)
        }
        return nn.ModuleDict({**towers, "unet": UNet(family.unet), "vae": VAE(family.vae)})
