"""DPT-Hybrid, which tells from one picture how near everything in it is. Ranftl et al. 2021
("Vision transformers for dense prediction"), fig. 1 and sec. 3; trained as MiDaS (Ranftl et al.
2020), so that what it tells is inverse depth, without scale and offset.

B batch, H x W a picture, multiples of 32; L = 1 + HW/256 tokens of width D; C channels of fusion.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...clip.model import MLP, SelfAttention
from .resnet import ResNet

PATCH = 16  # pixels of a side that are one token


@dataclass(frozen=True)
class DPTConfig:
    """size                  of the pictures it was trained on, in pixels of a side
    stem, stages, blocks  of the ResNet, see there
    groups                of its group norms
    width, layers, heads, mlp_width   of the transformer
    tapped                channels of the two maps that are made of its tokens
    fusion                channels of all maps from there on
    head                  channels of the last two layers but one
    classes               of the classifier that the transformer comes from, which nothing reads;
                          None: it is not there
    """

    size: int
    stem: int
    stages: tuple[int, ...]
    blocks: tuple[int, ...]
    groups: int
    width: int
    layers: int
    heads: int
    mlp_width: int
    tapped: tuple[int, ...]
    fusion: int
    head: tuple[int, ...]
    classes: int | None


HYBRID = DPTConfig(
    size=384, stem=64, stages=(256, 512, 1024), blocks=(3, 4, 9), groups=32, width=768, layers=12,
    heads=12, mlp_width=3072, tapped=(768, 768), fusion=256, head=(128, 32), classes=1000,
)  # fmt: skip


class Layer(nn.Module):
    """Self-attention, MLP; each pre-norm and residual. Dosovitskiy et al. 2021, eqs. 2 and 3; eps
    as in timm."""

    def __init__(self, width: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, 1e-6)
        self.attn = SelfAttention(width, heads, False)
        self.norm2 = nn.LayerNorm(width, 1e-6)
        self.mlp = MLP(width, hidden, "gelu")

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class Reassemble(nn.Module):
    """Tokens to a map: the first token, which stands for the whole picture, is told to all others.
    Sec. 3.1, "Read" by projection, "Concatenate", "Resample"."""

    __call__: Callable[..., Tensor]

    def __init__(self, width: int, out: int, half: bool) -> None:
        super().__init__()
        self.read = nn.Linear(2 * width, width)
        self.out = nn.Conv2d(width, out, 1)
        self.shrink = nn.Conv2d(out, out, 3, 2, 1) if half else nn.Identity()

    def forward(self, tokens: Tensor, height: int, width: int) -> Tensor:
        """(B, 1 + height * width, D) -> (B, out, height, width), or half of these"""
        first, rest = tokens[:, :1], tokens[:, 1:]
        x = F.gelu(self.read(torch.cat([rest, first.expand_as(rest)], dim=2)))
        x = self.out(x.transpose(1, 2).reshape(len(x), -1, height, width))
        y: Tensor = self.shrink(x)
        return y


class Residual(nn.Module):
    """Two convolutions, each after an activation, around which the input is added."""

    __call__: Callable[..., Tensor]

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv2(F.relu(self.conv1(F.relu(x))))
        return x + y


class Fusion(nn.Module):
    """A finer map joins the coarser ones, and the sum is made twice as large. Fig. 1, right. (The
    coarsest has none before it: its `res1` is not read.)"""

    __call__: Callable[..., Tensor]

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.res1, self.res2 = Residual(channels), Residual(channels)
        self.out = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor | None, finer: Tensor) -> Tensor:
        """(B, C, h, w) twice -> (B, C, 2h, 2w)"""
        y: Tensor = self.out(doubled(self.res2(finer if x is None else x + self.res1(finer))))
        return y


def doubled(x: Tensor) -> Tensor:
    """Twice as large, corner pixels on corner pixels."""
    return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=True)


class DPT(nn.Module):
    __call__: Callable[..., Tensor]

    def __init__(self, config: DPTConfig) -> None:
        super().__init__()
        self.config, width, channels = config, config.width, config.fusion
        self.resnet = ResNet(config.stem, config.stages, config.blocks, config.groups)
        self.patches = nn.Conv2d(config.stages[-1], width, 1)
        self.first = nn.Embedding(1, width)
        self.position = nn.Embedding(1 + (config.size // PATCH) ** 2, width)
        self.layers = nn.ModuleList(
            Layer(width, config.heads, config.mlp_width) for _ in range(config.layers)
        )
        self.norm = nn.LayerNorm(width, 1e-6)  # for the classifier alone
        self.classes = None if config.classes is None else nn.Linear(width, config.classes)
        self.reassemble = nn.ModuleList(
            Reassemble(width, out, half) for out, half in zip(config.tapped, (False, True))
        )
        self.maps = nn.ModuleList(
            nn.Conv2d(own, channels, 3, padding=1, bias=False)
            for own in (*config.stages[:2], *config.tapped)
        )
        self.fusion = nn.ModuleList(Fusion(channels) for _ in self.maps)
        self.head1 = nn.Conv2d(channels, config.head[0], 3, padding=1)
        self.head2 = nn.Conv2d(config.head[0], config.head[1], 3, padding=1)
        self.out = nn.Conv2d(config.head[1], 1, 1)

    def forward(self, pictures: Tensor) -> Tensor:
        """pictures (B, 3, H, W) in [-1, 1] -> how near each pixel is (B, 1, H, W), from 0 up"""
        *fine, last = self.resnet(pictures)  # H/4 x W/4; H/8 x W/8; (B, ., H/16, W/16)
        height, width = last.shape[-2:]
        x = self.patches(last).flatten(2).transpose(1, 2)  # (B, L - 1, D)
        x = torch.cat([self.first.weight.expand(len(x), 1, -1), x], dim=1)  # (B, L, D)
        x = x + self.positions(height, width)
        tokens = []
        for layer in self.layers:
            x = layer(x)
            tokens.append(x)
        tapped = tokens[3 * len(tokens) // 4 - 1], tokens[-1]  # layers 9 and 12 of 12
        coarse = [make(some, height, width) for make, some in zip(self.reassemble, tapped)]
        found = None
        maps = [conv(some) for conv, some in zip(self.maps, (*fine, *coarse))]  # (B, C, ., .)
        for fuse, finer in zip(reversed(self.fusion), reversed(maps)):
            found = fuse(found, finer)  # (B, C, H/16, W/16), …, (B, C, H/2, W/2)
        near = F.relu(self.head2(doubled(self.head1(found))))  # (B, ., H, W)
        return F.relu(self.out(near))

    def positions(self, height: int, width: int) -> Tensor:
        """(L, D): the embeddings of another grid lie between those of the one of training."""
        weight = self.position.weight
        side = self.config.size // PATCH
        grid = weight[1:].T.reshape(1, -1, side, side)
        grid = F.interpolate(grid, (height, width), mode="bilinear")
        return torch.cat([weight[:1], grid[0].flatten(1).T])
