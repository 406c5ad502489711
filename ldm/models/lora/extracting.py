"""What a fine-tuned model has learnt, as a LoRA: the best approximation of a rank of the difference
of its weights from those of the model it comes from. Eckart & Young 1936: the largest singular
values and their vectors."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from ...runtime.files import replacing
from ..families import Family
from ..family import parameter_shapes
from ..keymaps import components, of_sdxl
from ..tools.located import located
from ..weights.errors import CheckpointError
from ..weights.saving import is_empty_folder
from ..weights.write_safetensors import write_safetensors

LEFT_OUT = "token", "position"  # tables, not layers


class Extracted(NamedTuple):
    """layers   how many differ
    kept     which part of the squares of all differences of weights they hold
    """

    path: Path
    layers: int
    kept: float


def kohya_names(family: Family) -> dict[str, str]:
    """Layer of ours -> the beginning of its keys in kohya's files: diffusers' names, but for SDXL's
    U-Net, which has CompVis's."""
    xl, towers, found = of_sdxl(family), len(family.text), dict[str, str]()
    for part in components(family):
        if part.name == "vae":
            continue
        numbers = {"text": "1", "text2": "2"} if towers > 1 else {"text": ""}
        begin = "lora_unet_" if part.name == "unet" else f"lora_te{numbers[part.name]}_"
        own = part.name == "unet" and xl
        for row in part.rows:
            name = row.names("compvis" if own else "diffusers")[0]
            found[f"{part.name}.{row.ours}"] = begin + name.replace(".", "_")
    return found


def factors(delta: Tensor, rank: int) -> tuple[Tensor, Tensor, float, float]:
    """up (O, r) or (O, r, 1, 1) and down (r, I, ...) whose product is nearest to a change (O, I,
    ...); and the sums of the squares that it has, and that there are."""
    flat = delta.flatten(1)
    u, s, v = torch.linalg.svd(flat, full_matrices=False)
    rank = min(rank, len(s))
    up, down = u[:, :rank] * s[:rank], v[:rank].reshape(rank, *delta.shape[1:])
    kept, whole = s[:rank].square().sum().item(), s.square().sum().item()
    return up.reshape(*up.shape, *[1] * (delta.dim() - 2)), down, kept, whole


def extract_lora(
    tuned: str | Path,
    base: str | Path,
    path: str | Path,
    rank: int = 32,
    dtype: torch.dtype = torch.float16,
    family: Family | None = None,
) -> Extracted:
    """Write the difference of two models as a LoRA in kohya's layout, with what made it in the
    header. Read are two tensors at a time. Norms, biases and tables of tokens have no rank: they
    are left out, and counted in `kept`. CheckpointError: the models are of two families, or equal.
    """
    path, one, other = target(path), located(tuned, family=family), located(base, family=family)
    shapes = parameter_shapes(other.family)
    if parameter_shapes(one.family) != shapes:
        names = f"{one.family.name} and {other.family.name}"
        raise CheckpointError(f"{tuned} and {base} are of different families: {names}")
    begins, tensors, kept, whole = kohya_names(other.family), dict[str, Tensor](), 0.0, 0.0

    def changes() -> Iterator[tuple[str, Tensor]]:
        for name in shapes:
            if name[:4] != "vae.":
                delta = one.read(name, torch.float32) - other.read(name, torch.float32)
                if delta.any():
                    yield name, delta

    for name, delta in changes():
        layer, _, parameter = name.rpartition(".")
        if parameter == "bias" or delta.dim() < 2 or layer.endswith(LEFT_OUT):
            whole += delta.square().sum().item()
            continue
        up, down, has, of = factors(delta, rank)
        kept, whole = kept + has, whole + of
        tensors[f"{begins[layer]}.lora_up.weight"] = up.to(dtype).contiguous()
        tensors[f"{begins[layer]}.lora_down.weight"] = down.to(dtype).contiguous()
        tensors[f"{begins[layer]}.alpha"] = torch.tensor(float(len(down)), dtype=dtype)
    if not tensors:
        raise CheckpointError(f"{tuned} and {base} have the same layers: there is nothing to keep")
    recipe = {"tuned": Path(tuned).name, "base": Path(base).name, "rank": rank}
    header = {"ldm_recipe": json.dumps({"extract-lora": recipe}), "ss_network_dim": str(rank)}
    write_safetensors_whole(path, tensors, header)
    return Extracted(path, len(tensors) // 3, kept / whole)


def write_safetensors_whole(path: Path, tensors: dict[str, Tensor], header: dict[str, str]) -> None:
    with replacing(path) as temporary:
        write_safetensors(temporary, tensors, {"format": "pt", **header})


def target(path: str | Path) -> Path:
    """Where a file is to be written. ValueError: it cannot be a safetensors file."""
    path = Path(os.path.expanduser(path))
    if path.suffix != ".safetensors" or (path.is_dir() and not is_empty_folder(path)):
        raise ValueError(f"{path} should be a file that ends in .safetensors")
    return path
