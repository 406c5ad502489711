"""The blocks of the U-Net, compiled by torch when they are first drawn with.

A U-Net repeats few kinds of blocks. Those of one shape share a graph, whose weights are its inputs:
LoRAs may change them, and `model.to` move them. What inductor has compiled it keeps on the disk, in
TORCHINDUCTOR_CACHE_DIR.
"""

from __future__ import annotations

import os
import shutil
import sys

import torch
from torch import nn

from ..layers import Conv2d, Linear, ResBlock
from ..runtime.text import one_line
from ..unet.blocks import TransformerBlock

BACKEND = "inductor"
GRAPHS = 256  # at most, one for each shape of a block; torch's own limit, 8, is less than SD 1 has
COMPILERS = {"win32": "cl", "darwin": "clang++"}  # torch's choice, if CXX names none


def check_compiler(device: torch.device, limited: bool = False) -> None:
    """ValueError: torch cannot compile for a device here; or the model's memory is limited, and how
    much compiled blocks take is not predicted."""
    if limited:
        raise ValueError("give one of --compile and --ram or --vram: memory is predicted without")
    compiler = os.environ.get("CXX", COMPILERS.get(sys.platform, "g++"))
    try:
        if BACKEND == "inductor" and device.type == "cpu" and shutil.which(compiler) is None:
            raise FileNotFoundError(f"there is no C++ compiler {compiler}")
        torch.compile(lambda x: x.sin() + 1, backend=BACKEND)(torch.ones(8, device=device))
    except Exception as error:  # of many kinds
        why = one_line(str(error).strip().split("\n")[0] or type(error).__name__, 200)
        needs = "a CPU needs a C++ compiler (g++, or what CXX names), a GPU Triton"
        what = f"torch cannot compile for {device.type} here: {why}"
        raise ValueError(f"{what}. For --compile {needs}; or leave it out") from error


def compile_blocks(unet: nn.Module) -> None:
    """From now on its residual blocks and transformer blocks are compiled. This sets three options
    of torch's for the whole process."""
    from torch._dynamo import config
    from torch.fx.experimental import _config as shapes

    config.cache_size_limit = max(config.cache_size_limit, GRAPHS)
    config.skip_nnmodule_hook_guards = False  # hypernetworks and IP-Adapters come and go as hooks
    shapes.use_duck_shape = False  # a square picture's height and width are two numbers
    for block in unet.modules():
        if isinstance(block, ResBlock | TransformerBlock):
            block.compile(backend=BACKEND, dynamic=True)
            never_packed(block)


def never_packed(network: nn.Module) -> None:
    """For one that computes within compiled blocks: torch's compiler cannot read packed weights."""
    for layer in network.modules():
        if isinstance(layer, Conv2d | Linear):
            layer.packs = False


def is_compiled(network: nn.Module) -> bool:
    return any(module._compiled_call_impl is not None for module in network.modules())
