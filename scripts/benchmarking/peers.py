"""Others that do what diffusers does, on the same weights: its own networks in other ways,
OpenVINO, and stable-diffusion.cpp. Each is optional, and told by its version.
"""

from collections.abc import Callable
from copy import deepcopy
from functools import cache, partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from .computing import PROMPT, SCALE, Peer, told_unet


def channels_last(pipe: Any, dtype: torch.dtype, file: Path) -> Peer:
    """diffusers' networks, copied, with the channels of a pixel side by side."""
    unet, vae = (
        deepcopy(network).to(memory_format=torch.channels_last) for network in (pipe.unet, pipe.vae)
    )
    return Peer(partial(told_unet, unet), lambda z: vae.decode(z).sample)


def compiled(pipe: Any, dtype: torch.dtype, file: Path) -> Peer:
    """diffusers' networks through torch.compile, as its documentation has it."""
    how = {"fullgraph": True}
    if pipe.device.type == "cuda":
        how["mode"] = "max-autotune-no-cudagraphs"
    unet, decode = torch.compile(pipe.unet, **how), torch.compile(pipe.vae.decode, **how)
    return Peer(partial(told_unet, unet), lambda z: decode(z).sample)


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


def openvino(pipe: Any, dtype: torch.dtype, file: Path) -> Peer:
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

    return Peer(predict, partial(call, pipe.vae, None))


def sdcpp(pipe: Any, dtype: torch.dtype, file: Path) -> Peer:
    """stable-diffusion.cpp reads the file itself, and draws whole pictures only."""
    from cyllama import sd

    options = sd.SDContextParams()
    options.model_path, options.n_threads = str(file), torch.get_num_threads()
    drawing = sd.SDContext(options)

    def picture(steps: int, size: int) -> Tensor:
        (made,) = drawing.generate(
            PROMPT,
            width=size,
            height=size,
            seed=0,
            sample_steps=steps,
            cfg_scale=SCALE,
            sample_method=sd.SampleMethod.DDIM_TRAILING,
        )
        return torch.from_numpy(np.array(made.to_numpy()))

    return Peer(picture=picture)


PEERS: dict[str, Callable[[Any, torch.dtype, Path], Peer]] = {
    "channels_last": channels_last,
    "compiled": compiled,
    "openvino": openvino,
    "sdcpp": sdcpp,
}


PACKAGES = {"openvino": "openvino", "sdcpp": "cyllama"}  # of those that are not diffusers'


def lacking(name: str, device: torch.device, dtype: torch.dtype) -> str | None:
    """Why a peer cannot be measured here, or None."""
    if name not in PACKAGES:
        return None
    if device.type != "cpu" or dtype == torch.float16:
        return f"{name} is measured on the CPU, in float32 or bfloat16"
    package = PACKAGES[name]
    return None if installed(package) else f"{package} is not installed: pip install {package}"


def installed(package: str) -> str | None:
    """The version of a package, if it is there."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None
