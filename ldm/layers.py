"""What the U-Net, the VAE and the text encoders share.

B batch, C channels, H x W height and width, L tokens, D width of a token. (`__call__` is declared
where type checkers are to know that a module gives a Tensor.)
"""

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor, nn

from .runtime.seamless import Sides, pad


def attention(q: Tensor, k: Tensor, v: Tensor, heads: int, causal: bool = False) -> Tensor:
    """softmax(q k^T / sqrt(d)) v, with `heads` heads of width d = D / heads. Vaswani et al. 2017,
    eq. 1.

    q (B, L, D), k and v (B, M, D) -> (B, L, D). causal: token i sees tokens 0..i only.
    """
    q, k, v = (x.reshape(*x.shape[:2], heads, -1).transpose(1, 2) for x in (q, k, v))
    return F.scaled_dot_product_attention(q, k, v, is_causal=causal).transpose(1, 2).flatten(2)


class Linear(nn.Linear):
    """A linear layer on rows of tokens; a wide one, on a CPU, is a 1x1 convolution of pictures that
    are one row high.

    Torch leaves matrix products there to MKL and convolutions to oneDNN, which takes a fifth less
    time for the same.
    """

    __call__: Callable[..., Tensor]

    def forward(self, x: Tensor) -> Tensor:
        """(B, L, D) -> (B, L, out)"""
        if x.device.type != "cpu" or self.in_features < 256:
            return super().forward(x)
        row = x.transpose(1, 2).unsqueeze(2)  # (B, D, 1, L)
        return F.conv2d(row, self.weight[:, :, None, None], self.bias).squeeze(2).transpose(1, 2)


class Conv2d(nn.Conv2d):
    """A convolution that can wrap around.

    padding   the same on all sides, or left, right, top and bottom
    wrap      what lies beyond an edge: along "x" (left and right), "y" (top and bottom) or "xy" the
              opposite edge; zeros along the others. A picture made so joins itself.
    """

    __call__: Callable[..., Tensor]

    def __init__(
        self, channels: int, out: int, kernel: int, stride: int = 1, padding: int | Sides = 0
    ) -> None:
        self.even, self.wrap = isinstance(padding, int), ""
        super().__init__(channels, out, kernel, stride, padding if isinstance(padding, int) else 0)
        self.sides: Sides = (padding,) * 4 if isinstance(padding, int) else padding

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, out, H / stride, W / stride), where the padding makes up for the
        kernel"""
        if self.even and not self.wrap:
            return super().forward(x)
        return F.conv2d(pad(x, self.sides, self.wrap), self.weight, self.bias, self.stride)


class GroupNorm(nn.GroupNorm):
    """Wu & He 2018, eq. 1 and 2. Its statistics can be those of another map, see `vae.tiled`.

    shared   None: of each map its own. Empty: the next map's are kept there; then these.
    """

    __call__: Callable[..., Tensor]

    def __init__(self, groups: int, channels: int, eps: float) -> None:
        super().__init__(groups, channels, eps)
        self.shared: list[Tensor] | None = None

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> the same"""
        if self.shared is None:
            return super().forward(x)
        groups = x.reshape(len(x), self.num_groups, -1)
        if not self.shared:
            self.shared += [groups.mean(2, keepdim=True), groups.var(2, keepdim=True, correction=0)]
        mean, variance = self.shared
        groups = (groups - mean) * (variance + self.eps).rsqrt()
        return groups.view_as(x) * self.weight[:, None, None] + self.bias[:, None, None]


class ResBlock(nn.Module):
    """Two 3x3 convolutions around which the input is added back; a U-Net's is also conditioned on
    t.

    He et al. 2016b ("Identity mappings in deep residual networks", fig. 4e: normalise and activate
    before each convolution), with group norm; the embedded t is added between the two (Ho et al.
    2020, app. B).
    """

    __call__: Callable[..., Tensor]
    skip: Callable[[Tensor], Tensor]

    def __init__(
        self,
        channels: int,
        out_channels: int,
        groups: int,
        eps: float,
        time_width: int | None = None,
    ) -> None:
        super().__init__()
        self.norm1 = GroupNorm(groups, channels, eps)
        self.conv1 = Conv2d(channels, out_channels, 3, padding=1)
        self.time = nn.Linear(time_width, out_channels) if time_width is not None else None
        self.norm2 = GroupNorm(groups, out_channels, eps)
        self.conv2 = Conv2d(out_channels, out_channels, 3, padding=1)
        self.skip = Conv2d(channels, out_channels, 1) if channels != out_channels else nn.Identity()

    def forward(self, x: Tensor, t_emb: Tensor | None = None) -> Tensor:
        """x (B, C, H, W), t_emb (B or 1, time_width) -> (B, out_channels, H, W)"""
        h = self.conv1(F.silu(self.norm1(x), inplace=True))  # fresh memory would cost more time
        if self.time is not None and t_emb is not None:
            h = h + self.time(F.silu(t_emb))[:, :, None, None]
        h = self.conv2(F.silu(self.norm2(h), inplace=True))
        return self.skip(x) + h
