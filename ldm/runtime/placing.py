"""Where networks compute and in what numbers, as people say it."""

import torch

from .device import choose_device, choose_dtype
from .text import short

Place = str | torch.device | torch.dtype | None


def place(
    now: torch.device, *said: Place, device: Place = None, dtype: Place = None
) -> tuple[torch.device, torch.dtype | None]:
    """A device and a number format, said in any order, as for `nn.Module.to`; where nothing is said
    the device of now, and None. ValueError: one that there is not, or that the device cannot
    compute in."""
    for one in said:
        device, dtype = (device, one) if isinstance(one, torch.dtype) else (one, dtype)
    if isinstance(device, torch.dtype):
        raise ValueError(f"device {device} is a number format: give it as dtype")
    where = now if device is None else choose_device(device)
    return where, None if dtype is None else choose_dtype(where, dtype_named(dtype))[0]


def dtype_named(name: object) -> torch.dtype:
    """A number format, also by its name: "float16", "torch.float16"."""
    found = getattr(torch, name.removeprefix("torch."), name) if isinstance(name, str) else name
    if not isinstance(found, torch.dtype):
        raise ValueError(f"dtype {short(name)} is none: give float32, float16 or bfloat16")
    return found
