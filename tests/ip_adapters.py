"""Small IP-Adapters on random weights, and a small vision tower of transformers' for them."""

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from clip_files import openclip
from controls import randomised
from helpers import random_picture
from ldm.models.control.loading import names_of
from ldm.models.keymaps.control import controlnet_rows
from ldm.request import Request
from ldm.unet import UNetConfig
from ldm.unet.controlnet import ControlNet
from ldm.unet.ip_adapter import widths

KINDS = ("linear", "resampler", "mlp")
VECTOR, TOWER_WIDTH, SIDE, TOKENS = (
    20,
    32,
    28,
    17,
)  # of the tower; TOKENS: of (28 / 7)^2 + 1 patches
WIDTH, INNER = 48, 128  # of the resampler


def random_like(*shape: int) -> Tensor:
    if len(shape) == 2:
        return torch.randn(shape) * shape[1] ** -0.5
    return 0.2 * torch.randn(shape)


def norm(name: str, width: int) -> dict[str, Tensor]:
    return {f"{name}.weight": 1 + random_like(width), f"{name}.bias": random_like(width)}


def linear(name: str, out: int, inputs: int, bias: bool = True) -> dict[str, Tensor]:
    return {f"{name}.weight": random_like(out, inputs)} | (
        {f"{name}.bias": random_like(out)} if bias else {}
    )


def projection(kind: str, context: int, tower_width: int, vector: int) -> dict[str, Tensor]:
    if kind == "linear":
        return linear("proj", 4 * context, vector) | norm("norm", context)
    if kind == "mlp":
        up, down = (
            linear("proj.0", tower_width, tower_width),
            linear("proj.2", context, tower_width),
        )
        return up | down | norm("proj.3", context)
    found = {"latents": torch.randn(1, 6, WIDTH)} | linear("proj_in", WIDTH, tower_width)
    found |= linear("proj_out", context, WIDTH) | norm("norm_out", context)
    for i in range(4):  # as many as diffusers takes
        layer, mlp = f"layers.{i}.0", f"layers.{i}.1"
        found |= norm(f"{layer}.norm1", WIDTH) | norm(f"{layer}.norm2", WIDTH)
        found |= linear(f"{layer}.to_q", INNER, WIDTH, False)
        found |= linear(f"{layer}.to_kv", 2 * INNER, WIDTH, False)
        found |= linear(f"{layer}.to_out", WIDTH, INNER, False) | norm(f"{mlp}.0", WIDTH)
        found |= linear(f"{mlp}.1", 4 * WIDTH, WIDTH, False)
        found |= linear(f"{mlp}.3", WIDTH, 4 * WIDTH, False)
    return found


def ip_adapter(
    kind: str,
    unet: UNetConfig,
    seed: int = 0,
    layers: tuple[int, ...] | None = None,
    tower_width: int = TOWER_WIDTH,
    vector: int = VECTOR,
) -> dict[str, dict[str, Tensor]]:
    """The two dictionaries of a file. layers: widths of the cross-attentions, as numbered there."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        found: dict[str, Tensor] = {}
        for i, width in enumerate(widths(unet) if layers is None else layers):
            for part in ("k", "v"):
                found |= linear(f"{2 * i + 1}.to_{part}_ip", width, unet.context_width, False)
        first = projection(kind, unet.context_width, tower_width, vector)
        return {"image_proj": first, "ip_adapter": found}


def flat(state: dict[str, dict[str, Tensor]]) -> dict[str, Tensor]:
    """As a safetensors file has it."""
    return {f"{part}.{name}": x for part, inner in state.items() for name, x in inner.items()}


def vision_tower(seed: int = 0):
    """transformers'."""
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    config = CLIPVisionConfig(
        hidden_size=TOWER_WIDTH, intermediate_size=2 * TOWER_WIDTH, projection_dim=VECTOR,
        num_hidden_layers=3, num_attention_heads=4, image_size=SIDE, patch_size=7,
        hidden_act="gelu",
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        tower = CLIPVisionModelWithProjection(config).eval().requires_grad_(False)
        for parameter in tower.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return tower


PICTURES = [random_picture(30, 24), random_picture(30, 24).rotate(90, expand=True)]
TOWER = {"tower_width": 128, "vector": 10}  # of `clip_files`


def written(folder: Path, model: Any) -> dict[Any, str]:
    """The files of an IP-Adapter of each kind, of their tower, of two pictures and a ControlNet."""
    found: dict[Any, Path] = {"tower": folder / "tower.pt", "net": folder / "net.safetensors"}
    torch.save(openclip(dtype=torch.float32).state_dict(), found["tower"])
    for kind in KINDS:
        found[kind] = folder / f"{kind}.safetensors"
        save_file(flat(ip_adapter(kind, model.unet.config, **TOWER)), found[kind])
    for i, picture in enumerate(PICTURES):
        found[i] = folder / f"{i}.png"
        picture.save(found[i])
    network = randomised(ControlNet(model.unet.config, (4, 8)), 1)
    names, state = names_of(controlnet_rows(model.unet.config, 2), "compvis"), network.state_dict()
    save_file({names[ours]: state[ours].contiguous() for ours in names}, found["net"])
    return {name: str(path) for name, path in found.items()}


def asked(
    files: Any, kind: str = "linear", numbers: str = "", picture: int = 0, **options: Any
) -> Request:
    known = {
        "control": files[kind] + numbers, "control_image": files[picture],
        "vision_tower": files["tower"], "width": 24, "height": 24, "steps": 4,
    }  # fmt: skip
    return Request(**{"prompt": "a cat", **known, **options})
