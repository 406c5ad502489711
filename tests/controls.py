"""Small ControlNets and T2I-Adapters of diffusers', on random weights, for small families."""

import inspect
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from ldm.models.families import Family
from ldm.models.weights.folder_unet import write_unet
from tiny_families import NUMBERS, vae_factor


def randomised(network: Any, seed: int, scale: float = 0.1) -> Any:
    """No bias is 0, no norm's weight 1, and no zero convolution zero."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        for parameter in network.eval().requires_grad_(False).parameters():
            parameter.add_(scale * torch.randn_like(parameter))
    return network


def hint_widths(family: Family) -> tuple[int, ...]:
    return tuple(8 * (i + 1) for i in range(vae_factor(family).bit_length()))


def their_controlnet(family: Family, seed: int = 1, union: bool = False, **options: Any) -> Any:
    """diffusers' ControlNetModel, or ControlNetUnionModel, for a family's U-Net."""
    from diffusers import ControlNetModel, ControlNetUnionModel

    kind: Any = ControlNetUnionModel if union else ControlNetModel
    numbers = next((NUMBERS[told] for told in family.conditioning if told in NUMBERS), 0)
    pooled = next((tower.projection for tower in family.text if tower.projection), None)
    known = inspect.signature(kind.__init__).parameters
    config = {
        name: value
        for name, value in write_unet(family.unet, 8, pooled, numbers).items()
        if name in known
    }
    config |= {
        "in_channels": family.unet.in_channels,
        "conditioning_embedding_out_channels": hint_widths(family),
        "upcast_attention": False,
        **options,
    }
    if union:
        config["addition_time_embed_dim"] = config.get("addition_time_embed_dim", 8)
        width = family.unet.channels[0]
        config |= {"num_trans_channel": width, "num_proj_channel": width, "num_control_type": 8}
    return randomised(kind(**config), seed)


def their_adapter(family: Family, kind: str, seed: int = 2, channels: int = 3) -> Any:
    """diffusers' T2IAdapter for a family's U-Net: full_adapter, light_adapter or
    full_adapter_xl."""
    from diffusers import T2IAdapter

    widths, factor = list(family.unet.channels), vae_factor(family)
    if kind == "full_adapter_xl":
        widths, factor = [*widths, widths[-1]], 2 * factor
    if kind == "light_adapter":
        widths = widths[:-1]
    return randomised(T2IAdapter(channels, widths, 2, factor, kind), seed)


def saved(network: nn.Module, path: Path, rename: Any = None, **more: Tensor) -> Path:
    """A safetensors file of a network, its names changed by `rename`, with more tensors."""
    tensors = {(rename or str)(name): x.contiguous() for name, x in network.state_dict().items()}
    save_file({**tensors, **more}, path)
    return path
