"""The text encoder, and what is trained together with it.

B batch, L tokens of a caption, D their width, (Z, h, w) the size of a latent.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from ..clip.model import TextEncoder
from ..unet import UNet


class LatentHead(nn.Sequential):
    """A small network from a text's mean token to a latent. (B, D) -> (B, Z, h, w)"""

    __call__: Callable[..., Tensor]

    def __init__(self, width: int, latent: torch.Size) -> None:
        super().__init__(
            nn.Linear(width, 1024),
            nn.SiLU(),
            nn.Linear(1024, latent.numel()),
            nn.Unflatten(1, latent),
        )


class TextAndHead(nn.Module):
    """A text encoder with a LatentHead."""

    __call__: Callable[..., Tensor]

    def __init__(self, text: TextEncoder, latent: torch.Size) -> None:
        super().__init__()
        self.text, self.head = text, LatentHead(text.config.width, latent)

    def forward(self, ids: Tensor) -> Tensor:
        """(B, L) -> (B, Z, h, w)"""
        return self.head(self.text(ids).last.mean(dim=1))


class TextAndUNet(nn.Module):
    """The two networks that are trained together. head: as in TextAndHead, or None."""

    def __init__(self, text: TextEncoder, unet: UNet, head: LatentHead | None = None) -> None:
        super().__init__()
        self.text, self.unet, self.head = text, unet, head
