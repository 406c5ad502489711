"""Others that do what diffusers' networks do, on the same weights: its own in other ways, and
OpenVINO. Each is optional, and told by its version.

A peer gives what stands in the place of the U-Net, (x, t, context, told) -> prediction, and of the
decoder, latents -> pictures; it is made for the first shapes that it is called with.
"""

from collections.abc import Callable
from copy import deepcopy
from functools import cache, partial
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch
from torch import Tensor, nn

from .computing import told_unet

Peer = tuple[Callable[..., Tensor], Callable[[Tensor], Tensor]]


def channels_last(pipe: Any, dtype: torch.dtype) -> Peer:
    """diffusers' networks, copied, with the channels of a pixel side by side."""
    unet, vae = (
        deepcopy(network).to(memory_format=torch.channels_last) for network in (pipe.unet, pipe.vae)
    )
    return partial(told_unet, unet), lambda z: vae.decode(z).sample


def compiled(pipe: Any, dtype: torch.dtype) -> Peer:
    """diffusers' networks through torch.compile, as its documentation has it."""
    how = {"fullgraph": True}
    if pipe.device.type == "cuda":
        how["mode"] = "max-autotune-no-cudagraphs"
    unet, decode = torch.compile(pipe.unet, **how), torch.compile(pipe.vae.decode, **how)
    return partial(told_unet, unet), lambda z: decode(z).sample


class Plain(nn.Module):
    """A U-Net of diffusers' with tensors alone as arguments; or its decoder."""

    def __init__(self, network: nn.Module, told: tuple[str, ...] | None) -> None:
        super().__init__()
        self.network, self.told = network, told

    def forward(self, *given: Tensor) -> Tensor:
        if self.told is None:
            found: Tensor = self.network.decode(given[0]).sample
            return found
        x, t, context, *beside = given
        return told_unet(self.network, x, t, context, dict(zip(self.told, beside)) or None)


def openvino(pipe: Any, dtype: torch.dtype) -> Peer:
    """OpenVINO's conversion of diffusers' networks, for these shapes, on the CPU."""
    import openvino as ov

    core, precision = ov.Core(), {torch.float32: "f32", torch.bfloat16: "bf16"}[dtype]
    hints = {"INFERENCE_PRECISION_HINT": precision}
    hints["INFERENCE_NUM_THREADS"] = torch.get_num_threads()

    @cache
    def made(network: nn.Module, told: tuple[str, ...] | None, shapes: tuple[Any, ...]) -> Any:
        given = tuple(torch.zeros(shape) for shape in shapes)
        plain = Plain(deepcopy(network).float(), told).eval()
        with torch.no_grad():
            converted = ov.convert_model(plain, example_input=given, input=[*map(list, shapes)])
        return core.compile_model(converted, "CPU", hints)

    def call(network: nn.Module, told: tuple[str, ...] | None, *given: Tensor) -> Tensor:
        model = made(network, told, tuple(tuple(x.shape) for x in given))
        return torch.from_numpy(model([x.float().numpy() for x in given])[0]).to(given[0].dtype)

    def predict(x: Tensor, t: float, context: Tensor, told: dict[str, Tensor] | None) -> Tensor:
        beside = told or {}
        return call(
            pipe.unet, tuple(beside), x, torch.tensor([float(t)]), context, *beside.values()
        )

    return predict, partial(call, pipe.vae, None)


PEERS: dict[str, Callable[[Any, torch.dtype], Peer]] = {
    "channels_last": channels_last,
    "compiled": compiled,
    "openvino": openvino,
}


def lacking(name: str, device: torch.device, dtype: torch.dtype) -> str | None:
    """Why a peer cannot be measured here, or None."""
    if name != "openvino":
        return None
    if device.type != "cpu" or dtype == torch.float16:
        return "openvino is measured on the CPU, in float32 or bfloat16"
    return None if installed("openvino") else "openvino is not installed: pip install openvino"


def installed(package: str) -> str | None:
    """The version of a package, if it is there."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None
