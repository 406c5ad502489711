"""Textual inversion: the vectors of a new word are learnt, and all else stays.

Gal et al. 2022, "An image is worth one word", sec. 4.2, eq. 2. The vectors start as those of a word
that comes near, as in the paper, or at random among those that there are.
"""

import re
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from ...clip.model import TextOutput
from ...clip.tokenizer import Tokenizer
from ...models.embeddings import PAIR, Embedding, WithWords, with_vectors
from ...models.lora.extracting import write_safetensors_whole
from ...models.weights import Checkpoint
from ...samplers import Network
from ..data import Data
from ..fine_tuning import FineTuning
from ..loop import TrainConfig
from ..modules import Base, Denoising

INVERSION = FineTuning(  # for some hundreds of pictures and the built-in model
    TrainConfig(
        steps=200, batch=16, lr=3e-3, warmup=20, weight_decay=0.0, clip=1.0, ema=0.98, seed=0,
        save_every=100,
    ),
    cond_drop_prob=0.1, logit_normal=False, gamma=None,
)  # fmt: skip


@dataclass(frozen=True)
class Inversion:
    """name      the new word; the captions have it, and the file is called so
    vectors   how many the word is
    like      a word that comes near, from whose tokens the vectors start; None: none does
    """

    name: str
    vectors: int = 1
    like: str | None = None

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[a-z][a-z0-9_-]{0,60}", self.name) or self.name in PAIR:
            raise ValueError(
                f"an embedding cannot be called {self.name[:80]!r}: give small letters, digits, - "
                "and _, a letter first"
            )
        if not 1 <= self.vectors <= 64:
            raise ValueError(f"an embedding has 1 to 64 vectors, not {self.vectors}")

    def told(self) -> dict[str, object]:
        return {"embedding": self.name, "vectors": self.vectors, "like": self.like}

    def tokenizer(self, base: Tokenizer) -> Tokenizer:
        """One that knows the word. ValueError: the model knows it already, or it is longer than
        what is read."""
        if len(base.encode(self.name)) == 1:
            raise ValueError(f"the model has a token {self.name!r}: give the embedding a new name")
        if self.vectors > base.length - 2:
            raise ValueError(
                f"{self.vectors} vectors are too many: the model reads {base.length - 2} tokens"
            )
        if self.like is not None and not base.encode(self.like):
            raise ValueError(f"like must be a word, not {self.like[:80]!r}")
        empty = Embedding(self.name, {"": torch.empty(self.vectors, 0)})
        return WithWords(base, [empty], plainly=True)

    def module(
        self, base: Base, init: Checkpoint, tokenizer: Tokenizer, data: Data, seed: int
    ) -> "InversionModel":
        table = base.text.token.weight.detach()
        if self.like is not None:
            near = tokenizer.encode(self.like)
            start = table[[near[i % len(near)] for i in range(self.vectors)]].clone()
        else:
            noise = torch.randn(
                self.vectors, table.shape[1], generator=torch.Generator().manual_seed(seed)
            )
            start = table.mean(0) + table.std(0) * noise.to(table)
        return InversionModel(base, start)

    def write(self, module: Denoising, init: Checkpoint, folder: Path) -> Path:
        """name.safetensors, with one tensor (n, D) of the word's name, as diffusers has it and
        A1111 reads it; float32"""
        assert isinstance(module, InversionModel)
        vectors = module.vectors.detach().cpu().float().contiguous()
        path = folder / f"{self.name}.safetensors"
        write_safetensors_whole(path, {self.name: vectors}, {"base_model": init.family.name})
        return path


class InversionModel(Denoising):
    """vectors   (n, D)"""

    def __init__(self, base: Base, vectors: Tensor) -> None:
        super().__init__()
        self.base, self.vectors, self.head = base, nn.Parameter(vectors), None

    def text(self, ids: Tensor) -> TextOutput:
        return with_vectors(self.base.text, self.vectors)(ids)

    def network(self, chosen: Tensor) -> Network:
        return self.base.unet
