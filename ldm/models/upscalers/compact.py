"""The compact upscaler of Real-ESRGAN (SRVGGNetCompact, xinntao/Real-ESRGAN): a chain of
convolutions at the size of the small picture, which ends in as many channels as a large pixel has
small ones (Shi et al. 2016, "Real-time single image and video super-resolution", eq. 4).

    (B, 3, H, W) in [0, 1] -> (B, 3, sH, sW)
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import torch.nn.functional as F
from torch import Tensor, nn

from ...layers import Conv2d


@dataclass(frozen=True)
class CompactConfig:
    """channels   of the feature maps
    convs      that are followed by an activation
    scale      s
    """

    channels: int
    convs: int
    scale: int


class Compact(nn.Module):
    __call__: Callable[..., Tensor]
    out: Callable[[Tensor], Tensor]

    def __init__(self, config: CompactConfig) -> None:
        super().__init__()
        self.scale = config.scale
        widths = [3] + [config.channels] * config.convs
        self.convs = nn.ModuleList(Conv2d(a, b, 3, padding=1) for a, b in pairwise(widths))
        self.acts = nn.ModuleList(nn.PReLU(config.channels) for _ in range(config.convs))
        self.out = Conv2d(config.channels, 3 * config.scale**2, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        h = x
        for conv, act in zip(self.convs, self.acts):
            h = act(conv(h))
        nearest = F.interpolate(x, scale_factor=self.scale, mode="nearest")
        return nearest + F.pixel_shuffle(self.out(h), self.scale)
