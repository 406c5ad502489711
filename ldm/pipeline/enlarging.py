"""Pictures made larger without a prompt: by an upscaler's network, or by Lanczos resampling."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor

from ..images.resize import lanczos
from ..models.upscalers import Upscaler, open_upscaler
from ..models.upscalers.opening import TILE

TIMES = 3  # how often a network is applied at most, as in A1111
MOST = 2**28  # pixels


def enlarged(
    images: Tensor, height: int, width: int, upscaler: Upscaler | None, tile: int | None = TILE
) -> Tensor:
    """Pictures (B, 3, H, W) in [-1, 1] -> (B, 3, height, width).

    The network is applied until they are large enough, once at least, and Lanczos brings them to
    the size: A1111's rule. None: Lanczos alone. tile: see `Upscaler`.
    """
    check_room(height, width)
    for i in range(0 if upscaler is None else TIMES):
        assert upscaler is not None
        if i > 0 and images.shape[-2] >= height and images.shape[-1] >= width:
            break
        check_room(*(round(side * upscaler.scale) for side in images.shape[-2:]))
        images = upscaler(images, tile)
        if upscaler.scale <= 1:
            break
    return lanczos(images, height, width)


def check_room(height: int, width: int) -> None:
    if height * width > MOST:
        raise ValueError(
            f"a picture of {width} x {height} has more than {MOST // 10**6} million pixels: "
            "enlarge it less"
        )


def named_upscaler(path: str, device: torch.device) -> Upscaler:
    """The upscaler that a request names; the last one is kept. Errors: as `open_upscaler`."""
    file = Path(path).expanduser()
    changed = file.stat().st_mtime_ns if file.is_file() else 0
    return kept_upscaler(str(file), changed, device)


@lru_cache(maxsize=1)
def kept_upscaler(path: str, changed: int, device: torch.device) -> Upscaler:
    return open_upscaler(path, device)
