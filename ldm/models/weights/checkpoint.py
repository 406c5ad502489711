"""A model as it is read and saved."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from torch import nn

from ...clip.model import TextEncoder
from ...unet import UNet
from ...vae import VAE
from ..families import Family

if TYPE_CHECKING:
    from ..depth import Estimator


@dataclass(frozen=True)
class Checkpoint:
    """A model as it lies in a file.

    text     its text encoders, in the order of the family's
    merges   of its tokenizer, in rank order; None means CLIP's
    prediction  what the U-Net predicts, and the reason why that is believed
    others   what sees a picture in some families: vision, augmentor
    depth    the estimator of depth, of a file that has one beside a model that is told depth
    """

    family: Family
    text: tuple[TextEncoder, ...]
    unet: UNet
    vae: VAE
    merges: tuple[tuple[str, str], ...] | None = None
    prediction: str = ""
    others: nn.ModuleDict = field(default_factory=nn.ModuleDict)
    depth: "Estimator | None" = None
