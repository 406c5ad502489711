"""From the file of a control to its network."""

from collections.abc import Callable, Iterable, Mapping
from math import prod
from pathlib import Path

import torch
from torch import Tensor, nn

from ...runtime.text import one_line
from ...runtime.warn import warn
from ...unet import UNet, UNetConfig
from ...unet.adapter import T2IAdapter
from ...unet.controlnet import ControlNet
from ...unet.ip_adapter import IPAdapter
from ...unet.union import UnionControlNet
from ..family import Family, NoInitialisation
from ..keymaps import KeyFormat
from ..keymaps.control import adapter_rows
from ..keymaps.ip_adapter import ip_adapter_rows
from ..keymaps.rows import Row
from ..weights.errors import CheckpointError
from ..weights.guess import guess_type
from ..weights.loading import check_finite
from ..weights.mapped import Weight
from ..weights.matching import first, trimmed
from ..weights.opening import open_checkpoint
from .adapters import adapter_config
from .ip_adapters import ip_adapter_config
from .recognise import Found, described, product_fits, recognised
from .uses import pools

ControlNetwork = ControlNet | T2IAdapter | IPAdapter


def read_control(
    path: str | Path,
    family: Family,
    unet: UNet,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
) -> ControlNetwork:
    """The ControlNet, T2I-Adapter or IP-Adapter in a file, or in the folder of one, for a U-Net.

    CheckpointError: it is none, or it is damaged, or for models of another family, which is named.
    """
    opened = open_checkpoint(path, alone=True)
    found = recognised(opened.weights)
    if found is None:
        guess = guess_type(opened.weights)
        what = "a ControlNet or an adapter" + (f"; it seems to be {guess}" if guess else "")
        raise CheckpointError(f"{path} is no control: none of its names is one of {what}")
    try:
        network, rows = built(found, unet.config, family.vae.factor)
    except ValueError as error:
        raise refused(path, found, family, str(error)) from None
    state = Reader(str(path), found, family, unet).state(network, rows)
    own = {name: tensor.to(device, dtype) for name, tensor in state.items()}
    network.load_state_dict(own, assign=True)
    if isinstance(network, ControlNet):
        network.pooled = pools(opened.path)
    return network.eval().requires_grad_(False)


def built(found: Found, config: UNetConfig, factor: int) -> tuple[ControlNetwork, list[Row]]:
    """The network, without memory, and its layers. ValueError: the file has not all it takes to
    know its sizes."""
    with torch.device("meta"), NoInitialisation():
        if found.kind == "adapter":
            adapter = adapter_config(found, config, factor)
            return T2IAdapter(adapter), [*adapter_rows(adapter)]
        if found.kind == "ip-adapter":
            ip = ip_adapter_config(found, config)
            return IPAdapter(ip), [*ip_adapter_rows(ip)]
        channels, _, widths = found.hint_widths()
        config = found.fitted(config)
        if found.kind != "union":
            plain = ControlNet(config, widths, channels)
            return plain, found.rows(plain.config)
        kinds = found.shape("task_embedding")[0]
        told = found.shape("control_add_embedding.linear_1.weight")[1]
        layers = found.count("transformer_layes.{}.")
        union = UnionControlNet(config, widths, channels, kinds, told // kinds, layers)
        return union, found.rows(union.config)


def expected(
    network: nn.Module, rows: Iterable[Row], key_format: KeyFormat
) -> dict[str, tuple[int, ...]]:
    """The shape of each tensor of a complete file, by its name there."""
    shapes = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    return {name: shapes[ours] for ours, name in names_of(rows, key_format).items()}


def names_of(rows: Iterable[Row], key_format: KeyFormat) -> dict[str, str]:
    """Each parameter of ours -> the name of its tensor."""
    return {
        f"{layer.ours}.{parameter}": layer.names(key_format)[0]
        + layer.form.suffix.format(parameter)
        for layer in rows
        for parameter in (("weight", "bias") if layer.bias else ("weight",))
    }


class Reader:
    """Finds the parameters of a control, in its file and, where the file is a change of the U-Net,
    there."""

    def __init__(self, path: str, found: Found, family: Family, unet: UNet) -> None:
        self.path, self.found, self.family = path, found, family
        changes = found.kind in ("difference", "control-lora")
        self.base: Mapping[str, Tensor] = unet.state_dict() if changes else {}
        self.unused = dict(found.weights)

    def state(self, network: nn.Module, rows: Iterable[Row]) -> dict[str, Tensor]:
        """All parameters. CheckpointError says which are missing or of another shape: told from
        names and shapes, before one is read."""
        names = names_of(rows, self.found.key_format)
        shapes = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
        missing, wrong, readers = [], [], {}
        for ours, name in names.items():
            try:
                reader = self.parameter(ours, name, shapes[ours])
            except ValueError as error:
                wrong.append(str(error))
                continue
            if reader is None:
                missing.append(name)
            else:
                readers[ours] = reader
        self.check(missing, wrong)
        state = {ours: read().reshape(shapes[ours]) for ours, read in readers.items()}
        for ours, tensor in state.items():
            check_finite(tensor, f"{names[ours]} in {self.path}")
        return state

    def parameter(
        self, ours: str, name: str, shape: tuple[int, ...]
    ) -> Callable[[], Tensor] | None:
        """What reads it, in float32; None: it is not there. Where the file changes the U-Net's W,
        that is W + its tensor, or W + up down. ValueError: it has another shape."""
        weight, base = self.taken(name), self.base.get(ours)
        if weight is not None:
            if trimmed(weight.shape) != trimmed(shape):
                raise ValueError(f"{name} has shape {weight.shape}, not {shape}")
            if self.found.kind != "difference" or base is None:
                return lambda: float32(weight)
        elif base is None:
            return None
        if base.numel() != prod(shape):
            raise ValueError(f"{name} of the U-Net has shape {tuple(base.shape)}, not {shape}")
        if weight is not None:
            return lambda: plus(base, float32(weight))
        layer = name.removesuffix(".weight")
        up, down = self.taken(f"{layer}.up"), self.taken(f"{layer}.down")
        if up is None or down is None:
            return base.float().cpu
        if not product_fits(up, down, shape):
            raise ValueError(f"{layer}.up and .down are of {up.shape}, {down.shape}")
        return lambda: plus(base, float32(up).flatten(1) @ float32(down).flatten(1))

    def taken(self, name: str) -> Weight | None:
        weight: Weight | None = self.unused.pop(name, None)
        if weight is not None and (not weight.dtype.is_floating_point or 0 in weight.shape):
            raise ValueError(f"{name} is of {weight.dtype}, {weight.shape}")
        return weight

    def check(self, missing: list[str], wrong: list[str]) -> None:
        if not missing and not wrong:
            left = [name for name in self.unused if name not in ("lora_controlnet", "difference")]
            if left:
                what = f"{self.path}: {len(left)} tensors are no part of the control"
                warn(one_line(f"{what} and are left out ({first(left)})"))
            return
        kinds = ((missing, "missing"), (wrong, "of the wrong kind"))
        told = "; ".join(f"{len(names)} {what} ({first(names)})" for names, what in kinds if names)
        raise refused(self.path, self.found, self.family, told)


def refused(path: str | Path, found: Found, family: Family, why: str) -> CheckpointError:
    """The error of a control that is for another family, or damaged."""
    meant = f"it is {described(found)}, and this model is of {family.name}"
    return CheckpointError(one_line(f"{path} cannot be used: {meant}; {why}", 500))


def float32(weight: Weight) -> Tensor:
    return weight.read(torch.float32)


def plus(base: Tensor, change: Tensor) -> Tensor:
    return base.float().cpu() + change.reshape(base.shape)
