"""What the U-Net, the VAE and the text encoders share.

B batch, C channels, H x W height and width, L tokens, D width of a token. (`__call__` is declared
where type checkers are to know that a module gives a Tensor.)
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .runtime.seamless import Sides, pad

ONEDNN = torch.ops.mkldnn  # what torch's own compiler calls


def attention(q: Tensor, k: Tensor, v: Tensor, heads: int, causal: bool = False) -> Tensor:
    """softmax(q k^T / sqrt(d)) v, with `heads` heads of width d = D / heads. Vaswani et al. 2017,
    eq. 1.

    q (B, L, D), k and v (B, M, D) -> (B, L, D). causal: token i sees tokens 0..i only.
    """
    q, k, v = (x.reshape(*x.shape[:2], heads, -1).transpose(1, 2) for x in (q, k, v))
    return F.scaled_dot_product_attention(q, k, v, is_causal=causal).transpose(1, 2).flatten(2)


class Linear(nn.Linear):
    """A linear layer on rows of tokens, whose weights can be packed."""

    __call__: Callable[..., Tensor]
    packs = True  # whether `packed` may; not where torch compiles it

    def forward(self, x: Tensor) -> Tensor:
        """(B, L, D) -> (B, L, out)"""
        weight = self.weight
        if not weight.is_mkldnn:
            return F.linear(x, weight, self.bias)
        y: Tensor = ONEDNN._linear_pointwise(x, weight, self.bias, "none", [], "")
        return y

    def pack(self) -> Any:
        return ONEDNN._reorder_linear_weight(self.weight)


class Conv2d(nn.Conv2d):
    """A convolution that can wrap around, and whose weights can be packed.

    padding   the same on all sides, or left, right, top and bottom
    wrap      what lies beyond an edge: along "x" (left and right), "y" (top and bottom) or "xy" the
              opposite edge; zeros along the others. A picture made so joins itself.
    """

    __call__: Callable[..., Tensor]
    packs = True

    def __init__(
        self, channels: int, out: int, kernel: int, stride: int = 1, padding: int | Sides = 0
    ) -> None:
        super().__init__(channels, out, kernel, stride, padding if isinstance(padding, int) else 0)
        self.even, self.wrap = isinstance(padding, int), ""
        self.pointwise = kernel == stride == 1
        self.sides: Sides = (padding,) * 4 if isinstance(padding, int) else padding

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, out, H / stride, W / stride), where the padding makes up for the
        kernel"""
        weight, margin = self.weight, self.padding
        if self.wrap or not self.even:
            x, margin = pad(x, self.sides, self.wrap), (0, 0)
        if not weight.is_mkldnn:
            return F.conv2d(x, weight, self.bias, self.stride, margin)
        if self.pointwise:  # a product of matrices, many times faster as such on some CPUs
            rows = x.permute(0, 2, 3, 1)
            y: Tensor = ONEDNN._linear_pointwise(rows, weight, self.bias, "none", [], "")
            return y.permute(0, 3, 1, 2)
        geometry = margin, self.stride, self.dilation, self.groups
        y = ONEDNN._convolution_pointwise(x, weight, self.bias, *geometry, "none", [], "")
        return y

    def pack(self) -> Any:
        if self.pointwise:
            return ONEDNN._reorder_linear_weight(self.weight.flatten(1))
        geometry = self.padding, self.stride, self.dilation, self.groups
        return ONEDNN._reorder_convolution_weight(self.weight, *geometry)


@contextmanager
def packed(*networks: nn.Module) -> Iterator[None]:
    """While it lasts, the weights of convolutions and linear layers lie as oneDNN computes with
    them, if they are on a CPU, once and not twice in memory.

    Else it brings them into its own order at every call, which takes longer than the convolution
    itself where maps are small. Torch's compiler packs by the same operations.
    """
    modules = (module for network in networks for module in network.modules())
    layers: list[Any] = [module for module in modules if getattr(module, "packs", False)]
    plain = []
    try:
        for layer in layers:
            weight = layer.weight
            if weight.device.type == "cpu" and weight.dtype in packable() and not weight.is_mkldnn:
                plain.append((layer, weight, weight.shape))
                layer.weight = nn.Parameter(layer.pack(), requires_grad=False)
                weight.data = torch.empty(0, dtype=weight.dtype)
        yield
    finally:
        with torch.inference_mode(False):  # they may be trained later
            for layer, weight, shape in plain:
                weight.data = layer.weight.to_dense().view(shape)
                layer.weight = weight


@cache
def packable() -> set[torch.dtype]:
    """The number formats in which packed weights give what plain ones do, by this torch here."""
    found = set()
    for dtype in (torch.float32, torch.bfloat16):
        with torch.random.fork_rng([]), torch.no_grad():
            trials: list[tuple[Any, Tensor]] = [
                (Conv2d(16, 16, 3, padding=1).to(dtype), torch.ones(2, 16, 4, 4, dtype=dtype)),
                (Conv2d(16, 16, 1).to(dtype), torch.ones(2, 16, 4, 4, dtype=dtype)),
                (Linear(16, 16).to(dtype), torch.ones(2, 4, 16, dtype=dtype)),
            ]
            with suppress(RuntimeError, AttributeError):
                plain = [layer(x) for layer, x in trials]
                for layer, _ in trials:
                    layer.weight = nn.Parameter(layer.pack(), requires_grad=False)
                pairs = zip(plain, (layer(x) for layer, x in trials))
                if all(torch.allclose(y, z, 2 * torch.finfo(dtype).eps, 1e-5) for y, z in pairs):
                    found.add(dtype)
    return found


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
        self, channels: int, out_channels: int, groups: int, eps: float,
        time_width: int | None = None,
    ) -> None:  # fmt: skip
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
