"""ControlNet for several kinds of hints at once: it is told of which kind each of them is.

xinsir's ControlNet++ ("union", "promax"), as diffusers' ControlNetUnionModel has it.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from ..conditioning import Conditioning
from ..layers import Linear, attention
from .blocks import Embedding, timestep_embedding
from .controlnet import HINT_WIDTHS, ControlNet
from .model import UNetConfig

KINDS = (  # of hints, in the order of the embeddings; the first six are those of the first release
    ("openpose",),
    ("depth",),
    ("scribble", "hed", "softedge"),
    ("canny", "lineart", "mlsd"),
    ("normal",),
    ("segment",),
    ("tile",),
    ("inpaint",),
)
HEADS = 8


class FuserLayer(nn.Module):
    """A layer of CLIP's: self-attention and a feed-forward, each pre-norm and residual."""

    __call__: Callable[..., Tensor]

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = Linear(width, 3 * width), Linear(width, width)
        self.mlp_up, self.mlp_down = Linear(width, 4 * width), Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """(B, L, D) -> (B, L, D)"""
        q, k, v = self.qkv(self.norm1(x)).chunk(3, dim=-1)
        x = x + self.out(attention(q, k, v, HEADS))
        h = self.mlp_up(self.norm2(x))
        return x + self.mlp_down(h * torch.sigmoid(1.702 * h))


class UnionControlNet(ControlNet):
    """kinds  how many it tells apart: 6, or 8"""

    def __init__(
        self,
        config: UNetConfig,
        hint_widths: Sequence[int] = HINT_WIDTHS,
        hint_channels: int = 3,
        kinds: int = 6,
        kind_width: int = 256,
        layers: int = 1,
    ) -> None:
        super().__init__(config, hint_widths, hint_channels)
        width = config.channels[0]
        self.kind_width = kind_width
        self.kinds = Embedding(kind_width * kinds, 4 * width)
        self.kind = nn.Embedding(kinds, width)
        self.fuser = nn.ModuleList(FuserLayer(width) for _ in range(layers))
        self.spread = Linear(width, width)

    def forward(
        self,
        x: Tensor,
        t: Tensor,
        cond: Conditioning | Tensor,
        hint: Tensor | Sequence[Tensor],
        kinds: Sequence[int] = (),
        apart: bool = False,
    ) -> list[Tensor]:
        """See ControlNet; several hints, with the number of its kind for each. No kinds: it is told
        none, and adds the hints as a plain ControlNet does. apart: see `fused`."""
        cond = Conditioning.of(cond)
        hints = [hint] if isinstance(hint, Tensor) else list(hint)
        t_emb = self.embedded(t, cond) + self.kinds(self.marked(kinds))
        h = self.stem(x)
        if kinds:
            h = h + self.fused(h, hints, kinds, apart)
        else:
            h = h + torch.stack([self.hint(hint) for hint in hints]).sum(0)
        return self.residuals(h, t_emb, cond.context)

    def marked(self, kinds: Sequence[int]) -> Tensor:
        """1 for each kind that is there, 0 for the others, embedded like times. (1, kinds * D)"""
        there = torch.zeros(len(self.kind.weight), device=self.kind.weight.device)
        there[list(kinds)] = 1
        return timestep_embedding(there, self.kind_width).reshape(1, -1)

    def fused(
        self, h: Tensor, hints: Sequence[Tensor], kinds: Sequence[int], apart: bool = False
    ) -> Tensor:
        """The maps of the hints, each shifted by what a transformer over their means says.

        Its attention is between the rows of the batch, as in the original, whose axes are those of
        another library: two pictures see each other there, two hints do not. apart: each row for
        itself.
        """
        maps = [self.hint(hint) for hint in hints]  # (B, c_0, H, W)
        means = [map.mean((2, 3)) + self.kind.weight[kind] for map, kind in zip(maps, kinds)]
        tokens = torch.stack([*means, h.mean((2, 3))])  # (hints + 1, B, c_0)
        shape = tokens.shape
        tokens = tokens.reshape(-1, 1, shape[-1]) if apart else tokens
        for layer in self.fuser:
            tokens = layer(tokens)
        shifts = self.spread(tokens).reshape(shape)[:-1]
        return torch.stack(maps).sum(0) + shifts.sum(0)[:, :, None, None]
