"""What becomes of a picture before a vision tower sees it: openai/CLIP's clip.py, `_transform`, as
OpenCLIP does it, too."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    from PIL.Image import Image

MEAN = 0.48145466, 0.4578275, 0.40821073  # of red, green and blue in CLIP's training, from 0 to 1
STD = 0.26862954, 0.26130258, 0.27577711


def prepared(pictures: Sequence[Image], size: int, floor: bool = False) -> Tensor:
    """RGB pictures of any sizes -> (B, 3, size, size), their values less MEAN over STD: each made
    so small that its shorter side is `size`, bicubic, and cut to its middle.

    floor   where the middle lies between two pixels: the first of them, as transformers has it;
            else that of even number, as torchvision, and with it OpenAI's code
    """
    return normed(torch.cat([square(picture, size, floor) for picture in pictures]))


def square(picture: Image, size: int, floor: bool = False) -> Tensor:
    """The middle of one picture, see `prepared`. -> (1, 3, size, size), from 0 to 1"""
    from PIL.Image import Resampling

    shorter = min(picture.size)
    width, height = (int(size * side / shorter) for side in picture.size)
    resized = picture.resize((width, height), Resampling.BICUBIC)
    left, top = (
        (side - size) // 2 if floor else round((side - size) / 2) for side in (width, height)
    )
    pixels = np.array(resized.crop((left, top, left + size, top + size)))  # (S, S, 3) uint8
    return torch.from_numpy(pixels).permute(2, 0, 1)[None].float() / 255


def normed(pictures: Tensor) -> Tensor:
    """(B, 3, S, S) from 0 to 1 -> what the tower sees"""
    mean, std = (torch.tensor(of).to(pictures)[:, None, None] for of in (MEAN, STD))
    return (pictures - mean) / std
