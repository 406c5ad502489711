"""Number formats, and whether a device computes rightly in them."""

import torch
import torch.nn.functional as F


def named(dtype: torch.dtype) -> str:
    """
    >>> named(torch.bfloat16)
    'bfloat16'
    """
    return str(dtype).removeprefix("torch.")


def asked_for(device: torch.device, dtype: torch.dtype) -> tuple[torch.dtype, str]:
    """The format, and why. ValueError: the device cannot compute in it."""
    if not computes(device, dtype):
        what = f"this {device.type} device cannot compute in {dtype!r}"
        raise ValueError(f"{what}: use torch.float32")
    slow = device.type == "cpu" and dtype == torch.float16
    why = "; on a CPU float32 and bfloat16 are many times faster" if slow else ""
    return dtype, "as asked" + why


def sixteen_bits(gpu: torch.device) -> tuple[torch.dtype, str]:
    """The first of float16 and bfloat16 that a GPU computes rightly in, and why."""
    for half in (torch.float16, torch.bfloat16):
        if computes(gpu, half):
            return half, "half the memory, and fast on this GPU"
    return torch.float32, "this GPU computes wrongly in 16 bits"


def computes(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether a convolution of ones gives nine times its channels in the middle."""
    try:
        ones = torch.ones(1, 16, 8, 8, device=device, dtype=dtype)
        kernel = torch.ones(16, 16, 3, 3, device=device, dtype=dtype)
        middle = F.conv2d(ones, kernel, padding=1)[..., 1:-1, 1:-1]
    except (RuntimeError, TypeError):  # not implemented for this device and format
        return False
    return dtype.is_floating_point and bool((middle == 9 * 16).all())
