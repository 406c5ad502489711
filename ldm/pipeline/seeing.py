"""What an IP-Adapter lets the U-Net read of a picture: a vision tower looks at it once."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from ..clip.pictures import prepared
from ..clip.vision import VisionEncoder
from ..models.weights.clip import read_vision
from ..runtime.finite import finite
from ..runtime.text import one_line
from ..unet.ip_adapter import IPAdapter

if TYPE_CHECKING:
    from PIL.Image import Image

    from .asked_controls import Asked
    from .model import LatentDiffusion

# the tower that each model saw with last, and when its file was written
SAW_WITH: WeakKeyDictionary[LatentDiffusion, tuple[str, int, VisionEncoder]] = WeakKeyDictionary()


@torch.no_grad()
def tokens_of(model: LatentDiffusion, adapter: IPAdapter, asked: Asked, picture: Image) -> Tensor:
    """(2, N, D): of no picture, and of the picture. What no picture is, diffusers says: a vector of
    zeros; or what the tower's last layer but one says of a picture of zeros.

    ValueError: there is no vision tower, or it is not the adapter's; CheckpointError: or no tower.
    """
    config = adapter.config
    if asked.tower is None:
        raise ValueError(
            f"{asked.file} sees pictures with CLIP's {config.tower}: give its file or folder as "
            "vision_tower"
        )
    tower = tower_of(model, asked.tower)
    linear = config.projection == "linear"
    found = tower.config.projection if linear else tower.config.width
    if found != config.image_width:
        what = f"{asked.file} sees pictures with CLIP's {config.tower}"
        raise ValueError(one_line(f"{what}, and the tower in {asked.tower} gives {found}", 400))
    shown = prepared([picture], tower.config.size, floor=True).to(model.device, model.dtype)

    def run() -> Tensor:
        if linear:
            vector = tower(shown).pooled  # (1, E)
            return adapter(torch.cat([torch.zeros_like(vector), vector]))
        both = torch.cat([torch.zeros_like(shown), shown])  # (2, 3, S, S)
        return adapter(tower(both).hidden[-2])  # of (2, L, E)

    return finite(run, {"vision": tower, "ip_adapter": adapter}, "looking at control_image")


def tower_of(model: LatentDiffusion, path: str) -> VisionEncoder:
    when = Path(path).stat().st_mtime_ns
    held = SAW_WITH.get(model)
    if held is None or held[:2] != (path, when):
        held = path, when, read_vision(path, model.dtype, model.device)
        SAW_WITH[model] = held
    return held[2].to(model.device, model.dtype)
