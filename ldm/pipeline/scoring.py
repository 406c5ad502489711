"""How well pictures and texts go together: what CLIP says. Radford et al. 2021, sec. 3.1."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..clip.contrastive import CLIP
from ..clip.pictures import prepared
from ..clip.tokenizer import Tokenizer
from ..images.files import open_image
from ..models.weights.clip import read_clip
from ..runtime.device import choose_device, choose_dtype
from .init_image import as_pil, checked

if TYPE_CHECKING:
    from PIL.Image import Image

    from ..models.weights.clip_sizes import Activation
    from .describing import Description
    from .init_image import Picture

TEXTS, PICTURES = 64, 16  # that are read at once


def load_clip(
    path: str | Path,
    device: str | torch.device | None = None,
    dtype: torch.dtype | None = None,
    activation: Activation | None = None,
) -> Scorer:
    """A whole CLIP from its file or folder, see `read_clip`, ready to compare. device, dtype: see
    `load`."""
    where = choose_device(device)
    return Scorer(read_clip(path, choose_dtype(where, dtype)[0], where, activation))


class Scorer:
    """Compares pictures and texts: M pictures, N texts, E width of the vectors that stand for them.

    tokenizer   None: CLIP's
    """

    def __init__(self, clip: CLIP, tokenizer: Tokenizer | None = None) -> None:
        config = clip.text.config
        self.clip = clip
        self.tokenizer = Tokenizer(length=config.length) if tokenizer is None else tokenizer
        if (count := len(self.tokenizer)) != config.vocabulary:
            raise ValueError(
                f"this CLIP knows {config.vocabulary} tokens, and its tokenizer makes {count}: "
                "give it the tokenizer that it was trained with"
            )

    @torch.no_grad()
    def of_texts(self, texts: Sequence[str]) -> Tensor:
        """Their vectors, of length 1: (N, E). What is too long for CLIP is cut."""
        ids = self.tokenizer(texts).to(self.clip.logit_scale.device)
        return torch.cat([self.clip.of_texts(some).float() for some in torch.split(ids, TEXTS)])

    @torch.no_grad()
    def of_pictures(self, pictures: Sequence[Picture]) -> Tensor:
        """Their vectors, of length 1: (M, E). A picture is a file, PIL's, or (1, 3, H, W) in
        [-1, 1]."""
        size, vectors = self.clip.vision.config.size, []
        for start in range(0, len(pictures), PICTURES):
            some = prepared([opened(one) for one in pictures[start : start + PICTURES]], size)
            vectors.append(self.clip.of_pictures(some.to(self.clip.logit_scale)).float())
        return torch.cat(vectors)

    def similarity(self, pictures: Sequence[Picture], texts: Sequence[str]) -> Tensor:
        """The cosine of each picture and each text: (M, N)."""
        return self.of_pictures(pictures) @ self.of_texts(texts).T

    def score(self, pictures: Sequence[Picture], texts: Sequence[str]) -> Tensor:
        """Of each picture the share of each text, as if one of the texts were its caption: (M, N),
        of which each row adds up to 1."""
        return self.shares(self.similarity(pictures, texts))

    def shares(self, similarity: Tensor) -> Tensor:
        return (self.clip.logit_scale.detach().float().exp() * similarity).softmax(dim=1)

    def describe(self, picture: Picture, count: int = 8) -> Description:
        """The phrases that fit a picture best, and a prompt of at most `count` of them."""
        from .describing import describe

        return describe(self, picture, count)


def opened(picture: Picture) -> Image:
    """As RGB."""
    if isinstance(picture, str | Path):
        return open_image(picture)
    checked(picture)
    return as_pil(picture)
