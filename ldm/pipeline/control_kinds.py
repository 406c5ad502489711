"""ControlNets that are used in another way than others: one is told what is inpainted, one says the
same of every pixel (shuffle). Their files may say so, see `models.control.uses`; or `control_kind`.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from ..models.control import ControlNetwork
from ..models.control.uses import named_for
from ..unet.controlnet import ControlNet
from ..unet.ip_adapter import IPAdapter
from ..unet.union import UnionControlNet

if TYPE_CHECKING:
    from .asked_controls import Asked
    from .job import Job

FOR_ALL = "shuffle", "inpaint"  # the kinds that mean something for a ControlNet of one kind, too


def has_kind(asked: Asked, network: ControlNetwork) -> bool:
    """Whether the kind that a control is asked for with means anything to it."""
    plain = isinstance(network, ControlNet) and asked.kind in FOR_ALL
    return plain or isinstance(network, UnionControlNet)


def is_pooled(asked: Asked, network: ControlNetwork) -> bool:
    return isinstance(network, ControlNet) and (network.pooled or asked.kind == "shuffle")


def masked_value(asked: Asked, network: ControlNetwork, job: Job) -> float | None:
    """What the pixels of a hint become that are inpainted: -1, of lllyasviel's ControlNet 1.1; 0,
    of a union (xinsir's promax). None: they stay. ValueError: nothing is inpainted."""
    if not isinstance(network, ControlNet):
        return None
    kind = named_for(Path(asked.file)) if asked.kind is None else asked.kind
    if kind != "inpaint":
        return None
    union = isinstance(network, UnionControlNet)
    if job.init is not None and job.init.mask is not None:
        return 0.0 if union else -1.0
    if asked.kind is None or union:
        return None
    raise ValueError(f"control {asked.file} is to be told what is inpainted: give a mask")


def with_hole(hint: Tensor, job: Job, value: float) -> Tensor:
    """The hint (1, 3, H, W) with a value where the picture is inpainted."""
    assert job.init is not None
    assert job.init.mask is not None
    mask = F.interpolate(job.init.mask.to(hint), hint.shape[-2:], mode="nearest-exact")
    return torch.where(mask > 0.5, value, hint)


def numbers_of(network: ControlNetwork) -> int:
    """How many numbers a control keeps for each pixel of the latent while the U-Net is called: its
    hint of 3 f^2, and what it says, of each resolution a quarter of the one before. An IP-Adapter
    keeps a few tokens for the whole."""
    if isinstance(network, IPAdapter):
        return 0
    if isinstance(network, ControlNet):
        config, last = network.config, len(network.config.channels) - 1
        kept = config.channels[0] + sum(
            (config.res_blocks * width + (width if level < last else 0) / 4) / 4**level
            for level, width in enumerate(config.channels)
        )
        factor = 2 ** (len(network.hint.blocks) // 2)
        return int(3 * factor**2 + kept + config.channels[-1] / 4**last)
    widths = enumerate(network.config.channels)
    return int(3 * network.config.factor**2 + sum(width / 4**level for level, width in widths))
