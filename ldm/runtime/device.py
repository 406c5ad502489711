"""The machine: the device and the number format to compute with, and how much memory there is."""

import re
import sys
from pathlib import Path
from typing import Any

import torch

from .formats import asked_for, sixteen_bits


def choose_device(name: str | torch.device | None = None) -> torch.device:
    """The device asked for, if it is there; else the first there is of cuda, mps and cpu."""
    gpu, metal = torch.cuda.is_available(), torch.backends.mps.is_available()
    there = {"cuda": gpu, "mps": metal, "cpu": True}
    if name is None:
        return torch.device(next(kind for kind in there if there[kind]))
    try:
        device = torch.device(name)
    except (RuntimeError, TypeError):
        device = None
    beyond = gpu and device is not None and (device.index or 0) >= torch.cuda.device_count()
    if device is None or not there.get(device.type) or (device.type == "cuda" and beyond):
        usable = " or ".join(kind for kind in there if there[kind])
        raise ValueError(f"device {str(name)!r} is not available: give {usable}")
    return device


def choose_dtype(
    device: torch.device, dtype: torch.dtype | None = None, fast: bool = False
) -> tuple[torch.dtype, str]:
    """The number format for the networks and, in words, why.

    float16 on CUDA if a convolution in it comes out right there (on some GeForce 16 it does not),
    else bfloat16; float32 elsewhere, unless it is to be fast and the CPU has bfloat16. One that is
    asked for and that the device cannot compute in is a ValueError.
    """
    if dtype is not None:
        return asked_for(device, dtype)
    if device.type == "cuda":
        return sixteen_bits(device)
    faster = device.type == "cpu" and has_bfloat16()
    if faster and fast:
        return torch.bfloat16, "computed by instructions of its own on this CPU"
    hint = "; --dtype bfloat16 may take half the time here" if faster else ""
    return torch.float32, f"the sure choice on {device.type}{hint}"


def has_bfloat16() -> bool:
    """Whether this CPU multiplies bfloat16 by instructions of its own, as far as torch can say."""
    features: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    return bool(features.get("avx512_bf16") or features.get("amx_bf16"))


def layout(device: torch.device) -> torch.memory_format:
    """The memory format for large feature maps: a CPU convolves faster with the channels of a pixel
    side by side."""
    return torch.channels_last if device.type == "cpu" else torch.contiguous_format


def peak_memory(device: torch.device) -> int:
    """The most bytes in use so far: of the GPU's memory, or of this process's on a CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    if device.type == "mps":
        return torch.mps.driver_allocated_memory()
    if sys.platform == "win32":
        return 0
    status = Path("/proc/self/status")  # getrusage counts what started this process, too
    if status.exists() and (found := re.search(r"VmHWM:\s*(\d+) kB", status.read_text())):
        return int(found[1]) * 1024
    import resource

    kilobytes_or_bytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return kilobytes_or_bytes * (1 if sys.platform == "darwin" else 1024)
