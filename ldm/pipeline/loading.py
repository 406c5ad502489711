"""From a path to a model that is ready to draw."""

import os
from pathlib import Path

import torch

from ..clip.tokenizer import Tokenizer
from ..models.families import Family
from ..models.weights import read
from ..runtime.device import choose_device, choose_dtype
from ..runtime.placing import dtype_named
from ..runtime.text import short
from .about import add_files
from .compiling import check_compiler, compile_blocks
from .memory import admitted
from .model import LatentDiffusion


def load(
    path: str | Path | None = None,
    device: str | torch.device | None = None,
    dtype: torch.dtype | str | None = None,
    ema: bool | None = None,
    family: Family | str | Path | None = None,
    prediction: str | None = None,
    vae: str | Path | None = None,
    fast: bool = False,
    ram: float | None = None,
    vram: float | None = None,
    compile: bool = False,
) -> LatentDiffusion:
    """A model, ready to draw.

    path     a CompVis checkpoint, a diffusers folder, or a file of this library's; None: the model
             that comes with it
    device   None: the first there is of cuda, mps, cpu
    dtype    torch.float16, or its name; None: what suits the device, see `choose_dtype`
    ema      whether to take the moving averages of the U-Net's weights; None: if the file has them
    family   what the file is, where neither it nor its shapes tell; see `family_named`
    prediction  what its U-Net predicts, eps or v; None: see `read`
    vae      another VAE, or a tiny one, from a file or a folder of its own; see `read_vae`
    fast     the number format is the fastest, and so is what requests leave open: see `faster`
    ram, vram  how much memory it may take, in GB: of a CPU, or of a GPU; see `memory`
    compile  the blocks of the U-Net, when they are first drawn with; see `compiling`
    """
    for name, said in (("ema", ema is not None and ema), ("fast", fast), ("compile", compile)):
        if not isinstance(said, bool):
            raise ValueError(f"{name} must be True or False, not {short(said)}")
    given = None if path is None else Path(os.path.expanduser(path)).resolve()
    path = built_in() if given is None else given
    where = choose_device(device)
    asked = dtype if isinstance(dtype, torch.dtype | None) else dtype_named(dtype)
    dtype, why = choose_dtype(where, asked, fast)
    if compile:
        check_compiler(where, limited=ram is not None or vram is not None)
    told = ema, family, torch.float32, prediction
    memory = None if ram is vram is None else admitted(path, ram, vram, where, dtype, told)
    found = read(path, dtype, where if memory is None else "cpu", *told, copy=memory is not None)
    tokenizer = Tokenizer(found.merges, found.family.text[0].length)
    if len(tokenizer) > (known := found.family.text[0].vocabulary):
        what = f"{path} has no merges of its tokenizer: CLIP's make {len(tokenizer)} tokens"
        raise ValueError(f"{what}, and its text encoder knows {known}")
    name = path.name if path.is_dir() else path.stem
    model = LatentDiffusion(found.text, found.unet, found.vae, tokenizer, found.family, name)
    model.prediction_reason, model.fast = found.prediction, fast
    model.others, model.depth = found.others, found.depth
    model.dtype_reason = f"{str(dtype).removeprefix('torch.')}: {why}"
    if given is not None or vae is not None:
        add_files(model, given, vae)
    if memory is not None:
        memory.hold(model)
    if compile:
        compile_blocks(model.unet)
    return model


def built_in() -> Path:
    """The file of the model that comes with this library."""
    found = sorted((Path(__file__).parent.parent / "assets").glob("*.safetensors"))
    if len(found) != 1:
        files = ", ".join(map(str, found))
        there = f"has {len(found)} built-in models ({files})" if found else "has no built-in model"
        raise ValueError(f"this copy of ldm {there}: give the path of a checkpoint")
    return found[0]
