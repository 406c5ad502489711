"""The U-Net with its depth held: deep maps change little from one noise level to the next, so that
one of them is kept, and only what lies above it is computed anew.

Ma et al. 2023, "DeepCache: accelerating diffusion models for free", fig. 3 and eq. 8 and 9.

    stem ---------------------------- cat -- block -- out
      |                                |
     the rest of the U-Net ------------       the held map: what the last block is given from below

B batch, H x W the size of the latent, c_0 channels of the finest level.
"""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..conditioning import Conditioning
from .blocks import timestep_embedding
from .model import UNet


def whole(
    unet: UNet, x: Tensor, t: Tensor, cond: Conditioning, residuals: Sequence[Tensor] = ()
) -> tuple[Tensor, Tensor]:
    """The prediction, to the bit as the U-Net makes it; and the map that its last block is given
    from below, (B, c, H, W). Arguments as of `UNet.forward`."""
    held: list[Tensor] = []

    def keep(module: nn.Module, args: tuple[Tensor, ...]) -> None:
        joined, skip = args[0], unet.stem.weight.shape[0]  # the last skip is the stem's
        held.append(joined[:, : joined.shape[1] - skip].clone())

    last: Any = unet.up[-1]
    hook = last.res[-1].register_forward_pre_hook(keep)
    try:
        return unet(x, t, cond, residuals), held.pop()
    finally:
        hook.remove()


def shallow(
    unet: UNet,
    x: Tensor,
    t: Tensor,
    cond: Conditioning,
    held: Tensor,
    residuals: Sequence[Tensor] = (),
) -> Tensor:
    """The prediction from the held map of another call, `whole`'s, on a latent of this shape."""
    last: Any = unet.up[-1]
    # fmt: off
    t_emb = timestep_embedding(t, unet.config.channels[0])           # (B, c_0)
    t_emb = unet.time(t_emb, cond.guidance)                          # (B, 4 c_0)
    if unet.vector is not None:
        t_emb = t_emb + unet.vector(cond.vector)                     # (B, 4 c_0)
    if cond.concat is not None:
        x = torch.cat([x, cond.concat], dim=1)                       # (B, C + C', H, W)

    skip = unet.stem(x)                                              # (B, c_0, H, W)
    if residuals:
        skip = skip + residuals[0]
    h = last.res[-1](torch.cat([held, skip], dim=1), t_emb)          # (B, c_0, H, W)
    if last.attn:
        h = last.attn[-1](h, cond.context)                           # (B, c_0, H, W)
    return unet.out(F.silu(unet.norm(h)))                            # (B, out_channels, H, W)
    # fmt: on
