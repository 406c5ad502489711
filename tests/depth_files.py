"""Small checkpoints of a model that is told depth, with an estimator of it as MiDaS has it."""

from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from helpers import MERGES, TINY, tiny_networks
from ldm.models.depth.dpt import DPT, DPTConfig
from ldm.models.depth.names import BEGIN, dpt_rows
from ldm.models.keymaps import sources
from ldm.models.weights import Checkpoint, save
from ldm.unet import UNet

FAMILY = replace(
    TINY, name="depth", unet=replace(TINY.unet, concat_channels=1), conditioning=("depth",)
)
SMALL_DPT = DPTConfig(
    size=64, stem=32, stages=(128, 128, 256), blocks=(1, 2, 1), groups=32, width=128, layers=4,
    heads=2, mlp_width=80, tapped=(24, 16), fusion=16, head=(8, 32), classes=7,
)  # fmt: skip


def random_dpt(config: DPTConfig = SMALL_DPT) -> dict[str, Tensor]:
    """Weights that keep the size of what goes through them; no bias is 0, no norm's weight 1."""
    generator, state = torch.Generator().manual_seed(0), {}
    for name, parameter in DPT(config).state_dict().items():
        tensor = torch.randn(parameter.shape, generator=generator)
        if parameter.ndim > 1:
            tensor *= parameter[0].numel() ** -0.5
        else:
            tensor = 0.2 * tensor + float("norm" in name and name.endswith("weight"))
        state[name] = tensor + (name == "out.bias")  # so that no pixel is cut off at 0
    return state


def midas(state: dict[str, Tensor], config: DPTConfig = SMALL_DPT) -> dict[str, Tensor]:
    """The same under the names of Stability's files, q, k and v in one."""
    parts: dict[str, list[Tensor]] = {}
    for ours, source in sources("", dpt_rows(config), "compvis", BEGIN["compvis"]).items():
        tensor = state[ours[1:]]
        tensor = tensor if source.operation is None else source.operation.theirs(tensor)
        parts.setdefault(source.names[0], []).append(tensor)
    return {name: torch.cat(tensors) for name, tensors in parts.items()}


def write_file(path: Path, dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
    """A whole checkpoint of CompVis's names; the estimator's tensors in it."""
    text, _, vae = tiny_networks()
    torch.manual_seed(1)
    unet = UNet(FAMILY.unet).requires_grad_(False)
    save(path, Checkpoint(FAMILY, (text,), unet, vae, tuple(MERGES)), "compvis")
    own = {name: tensor.to(dtype) for name, tensor in midas(random_dpt()).items()}
    save_file({**load_file(path), **own}, path, header(path))
    return own


def header(path: Path) -> dict[str, str]:
    from safetensors import safe_open

    with safe_open(path, "pt") as file:
        return {name: text for name, text in file.metadata().items() if name != "crc32"}
