"""What the U-Net, the VAE and the text encoder share.

B batch, C channels, H x W height and width, L tokens, D width of a token.
"""

import torch.nn.functional as F
from torch import Tensor, nn


def attention(q: Tensor, k: Tensor, v: Tensor, heads: int, causal: bool = False) -> Tensor:
    """softmax(q k^T / sqrt(d)) v, with `heads` heads of width d = D / heads. Vaswani et al. 2017, eq. 1.

    q (B, L, D), k and v (B, M, D) -> (B, L, D). causal: token i sees tokens 0..i only.
    """
    q, k, v = (x.reshape(*x.shape[:2], heads, -1).transpose(1, 2) for x in (q, k, v))  # (B, heads, L, d)
    return F.scaled_dot_product_attention(q, k, v, is_causal=causal).transpose(1, 2).flatten(2)


class Linear(nn.Linear):
    """A linear layer on rows of tokens; a wide one, on a CPU, is a 1x1 convolution of pictures that are one row high.

    Torch leaves matrix products there to MKL and convolutions to oneDNN, which takes a fifth less time for the same.
    """

    def forward(self, x: Tensor) -> Tensor:
        """(B, L, D) -> (B, L, out)"""
        if x.device.type != "cpu" or self.in_features < 256:
            return super().forward(x)
        row = x.transpose(1, 2).unsqueeze(2)  # (B, D, 1, L)
        return F.conv2d(row, self.weight[:, :, None, None], self.bias).squeeze(2).transpose(1, 2)


class ResBlock(nn.Module):
    """Two 3x3 convolutions around which the input is added back; a U-Net's also hears the time of diffusion.

    He et al. 2016 with group norm before each convolution; the time is added between the two (Ho et al. 2020, app. B).
    """

    def __init__(
        self, channels: int, out_channels: int, groups: int, eps: float, time_width: int | None = None
    ) -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(groups, channels, eps)
        self.conv1 = nn.Conv2d(channels, out_channels, 3, padding=1)
        self.time = nn.Linear(time_width, out_channels) if time_width is not None else None
        self.norm2 = nn.GroupNorm(groups, out_channels, eps)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1)
        self.skip = nn.Conv2d(channels, out_channels, 1) if channels != out_channels else nn.Identity()

    def forward(self, x: Tensor, time: Tensor | None = None) -> Tensor:
        """x (B, C, H, W), time (B, time_width) -> (B, out_channels, H, W)"""
        h = self.conv1(F.silu(self.norm1(x), inplace=True))  # fresh memory would take longer than the sum
        if self.time is not None and time is not None:
            h = h + self.time(F.silu(time))[:, :, None, None]
        h = self.conv2(F.silu(self.norm2(h), inplace=True))
        return self.skip(x) + h  # type: ignore[no-any-return]
