"""The text encoder, and what is trained together with it.

B batch, L tokens of a caption, D their width, (Z, h, w) the size of a latent.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from ..clip.model import TextEncoder, TextOutput
from ..samplers import Network
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


class Denoising(nn.Module):
    """A text encoder and a U-Net at work. The parameters of this module are those that learn: all
    of theirs, or a few beside a `Base` that stays as it is.

    text   ids (B, L) -> TextOutput
    head   as in TextAndHead, or None
    """

    text: Callable[[Tensor], TextOutput]
    head: LatentHead | None

    def network(self, chosen: Tensor) -> Network:
        """The U-Net for these examples, given by their numbers in the data."""
        raise NotImplementedError


class TextAndUNet(Denoising):
    """The two networks that are trained together."""

    text: TextEncoder

    def __init__(self, text: TextEncoder, unet: UNet, head: LatentHead | None = None) -> None:
        super().__init__()
        self.text, self.unet, self.head = text, unet, head

    def network(self, chosen: Tensor) -> Network:
        return self.unet


class Base:
    """The networks of a model that stay as they are. A module that holds them so has them neither
    among its parameters nor in its copies."""

    def __init__(self, text: TextEncoder, unet: UNet) -> None:
        self.text, self.unet = text.float().requires_grad_(False), unet.float()
        for weight in self.unet.requires_grad_(False).parameters():
            if weight.dim() == 4:  # as `Training` has those that learn
                weight.data = weight.data.to(memory_format=torch.channels_last)

    @property
    def device(self) -> torch.device:
        return self.text.token.weight.device

    def __deepcopy__(self, memo: object) -> "Base":
        return self
