"""The convolutions that DPT-Hybrid's transformer looks through: a ResNet with group norm and
standardised weights. Kolesnikov et al. 2020 ("Big Transfer"), sec. 2.1 and app. C; its blocks are
those of He et al. 2016a, fig. 5 (right).

B batch, C channels, H x W height and width. Padding is TensorFlow's "SAME": what the last window
lacks, and where that is an odd number, one more at the right and the bottom.
"""

from collections.abc import Callable, Sequence

import torch.nn.functional as F
from torch import Tensor, nn


def same(x: Tensor, kernel: int, stride: int) -> Tensor:
    """x with zeros around it, so that ceil(H / stride) x ceil(W / stride) windows fit."""
    high, wide = (
        max((-(-side // stride) - 1) * stride + kernel - side, 0) for side in x.shape[-2:]
    )
    return F.pad(x, (wide // 2, wide - wide // 2, high // 2, high - high // 2))


class StandardisedConv(nn.Conv2d):
    """A convolution whose weights have, for each channel that it makes, mean 0 and variance 1. Qiao
    et al. 2019 ("Micro-batch training with batch-channel normalization and weight
    standardization"), eq. 2; eps as in timm."""

    __call__: Callable[..., Tensor]

    def __init__(self, channels: int, out: int, kernel: int, stride: int = 1) -> None:
        super().__init__(channels, out, kernel, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, out, ceil(H / stride), ceil(W / stride))"""
        flat = self.weight.flatten(1)
        spread = (flat.var(1, keepdim=True, correction=0) + 1e-8).sqrt()
        weight = ((flat - flat.mean(1, keepdim=True)) / spread).view_as(self.weight)
        return F.conv2d(same(x, self.kernel_size[0], self.stride[0]), weight, None, self.stride)


class Projection(nn.Module):
    """What stands in the place of a skip where sizes change."""

    def __init__(self, channels: int, out: int, groups: int, stride: int) -> None:
        super().__init__()
        self.conv = StandardisedConv(channels, out, 1, stride)
        self.norm = nn.GroupNorm(groups, out, 1e-5)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.norm(self.conv(x))
        return y


class Bottleneck(nn.Module):
    """1x1 to a quarter of the channels, 3x3, 1x1 back, around which the input is added."""

    def __init__(self, channels: int, out: int, groups: int, stride: int, first: bool) -> None:
        super().__init__()
        inner = out // 4
        self.conv1 = StandardisedConv(channels, inner, 1)
        self.norm1 = nn.GroupNorm(groups, inner, 1e-5)
        self.conv2 = StandardisedConv(inner, inner, 3, stride)
        self.norm2 = nn.GroupNorm(groups, inner, 1e-5)
        self.conv3 = StandardisedConv(inner, out, 1)
        self.norm3 = nn.GroupNorm(groups, out, 1e-5)
        self.skip = Projection(channels, out, groups, stride) if first else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, out, H / stride, W / stride)"""
        h = F.relu(self.norm1(self.conv1(x)))
        h = F.relu(self.norm2(self.conv2(h)))
        h = self.norm3(self.conv3(h))
        return F.relu(h + self.skip(x))


class ResNet(nn.Module):
    """stem     channels after the first convolution
    widths   channels of each stage, each but the first at half the size of the one before
    blocks   of each stage
    """

    __call__: Callable[..., list[Tensor]]

    def __init__(self, stem: int, widths: Sequence[int], blocks: Sequence[int], groups: int):
        super().__init__()
        self.stem = StandardisedConv(3, stem, 7, 2)
        self.norm = nn.GroupNorm(groups, stem, 1e-5)
        self.stages = nn.ModuleList()
        before = stem
        for i, (width, count) in enumerate(zip(widths, blocks)):
            stage = nn.Sequential()
            for j in range(count):
                stride = 2 if i and not j else 1
                stage.append(Bottleneck(before, width, groups, stride, first=not j))
                before = width
            self.stages.append(stage)

    def forward(self, pictures: Tensor) -> list[Tensor]:
        """(B, 3, H, W) -> the result of each stage: (B, width, H/4, W/4), then H/8, H/16"""
        x = F.relu(self.norm(self.stem(pictures)))  # (B, stem, H/2, W/2)
        x = F.max_pool2d(same(x, 3, 2), 3, 2)  # (B, stem, H/4, W/4); nothing is less than 0 here
        found = []
        for stage in self.stages:
            x = stage(x)
            found.append(x)
        return found
