"""Textual inversion: words of their own. Gal et al. 2022, "An image is worth one word", sec. 4: the
vectors of new tokens are learnt, and all else stays.

    A1111          {"string_to_param": {"*": (n, D)}, …}        a pickle, read as data
    kohya          {"emb_params": (n, D)}
    diffusers      {"<token>": (D) or (n, D)}
    SDXL           {"clip_l": (n, 768), "clip_g": (n, 1280)}    a pair, for its two towers
"""

import copy
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..clip.model import TextEncoder
from ..clip.tokenizer import Tokenizer, words_of
from .weights.deep import open_deep
from .weights.errors import CheckpointError
from .weights.loading import check_finite
from .weights.mapped import Weight

ENDINGS = ".pt", ".safetensors", ".bin"
PAIR = "clip_l", "clip_g"
PREFIX = "embedding:"  # ComfyUI's; A1111 needs none
# The widths of an embedding's vectors, and the family that it is for.
WORDS = {"768": "sd1", "1024": "sd2", "768 and 1280": "sdxl", "1280": "sdxl-refiner"}


@dataclass(frozen=True, eq=False)
class Embedding:
    """vectors   by the tower they are for, clip_l or clip_g, or by "" where the file tells only
    their width: (n, D) each, n the same
    path      of its file; None: it is a part of another
    """

    name: str
    vectors: Mapping[str, Tensor]
    path: Path | None = None

    def __len__(self) -> int:
        return len(next(iter(self.vectors.values())))

    @property
    def widths(self) -> str:
        return " and ".join(str(vectors.shape[1]) for vectors in self.vectors.values())

    def of_towers(self, encoders: Sequence[TextEncoder]) -> list[Tensor]:
        """Those for each text encoder. ValueError: they are not for these."""
        widths = [encoder.config.width for encoder in encoders]
        projected = [encoder.config.projection is not None for encoder in encoders]
        keys = [PAIR[has] for has in projected] if "" not in self.vectors else [""] * len(widths)
        found = [self.vectors[key] for key in keys if key in self.vectors]
        if [vectors.shape[1] for vectors in found] != widths:
            meant = f", as those of {WORDS[self.widths]} are" if self.widths in WORDS else ""
            theirs = " and ".join(map(str, widths))
            raise ValueError(f"its vectors are {self.widths} wide{meant}, and the model's {theirs}")
        return found


def read_embedding(path: Path) -> Embedding:
    """The embedding in a file. CheckpointError: there is none, or it is damaged."""
    return replace(embedding_of(open_deep(path).weights, path.stem, path), path=path)


def embedding_of(tensors: Mapping[str, Weight], name: str, path: Path) -> Embedding:
    """What tensors by their names are; they may be those within a LoRA."""
    known = {key: key for key in PAIR if key in tensors}
    known |= {key: "" for key in tensors if key.startswith("string_to_param.")}
    known |= {key: "" for key in tensors if key == "emb_params"}
    rows = {key: "" for key, weight in tensors.items() if len(weight.shape) in (1, 2)}
    chosen = known or rows
    if not chosen or len(set(chosen.values())) < len(chosen):
        what = ", ".join(list(tensors)[:5]) or "nothing"
        raise CheckpointError(f"{path} is not an embedding of one word: it has {what}")
    vectors = {}
    for key, tower in chosen.items():
        found = tensors[key].read(torch.float32)
        if found.dim() not in (1, 2) or not found.numel():
            raise CheckpointError(f"{path} is damaged: {key} has the shape {tuple(found.shape)}")
        check_finite(found, f"{key} in {path}")
        vectors[tower] = found.reshape(-1, found.shape[-1])
    if len({len(one) for one in vectors.values()}) > 1:
        raise CheckpointError(f"{path} is damaged: it has another number of vectors for each tower")
    return Embedding(name, vectors)


class WithWords(Tokenizer):
    """A tokenizer that knows the names of embeddings: in the place of the tokens of a name it gives
    an id for each vector, behind the vocabulary, in order.

    plainly   whether the name alone is enough; else only embedding:name is it
    """

    def __init__(self, base: Tokenizer, embeddings: Sequence[Embedding], plainly: bool) -> None:
        self.__dict__ |= base.__dict__
        self.embeddings = tuple(embeddings)
        self.words: list[tuple[list[int], list[int]]] = []
        self.known = set[str]()
        first, later = len(base), set[int]()
        for embedding in embeddings:
            ids = list(range(first, first + len(embedding)))
            first, later = first + len(ids), later.union(ids[1:])
            names = [PREFIX + embedding.name, *[embedding.name] * plainly]
            self.words += [(base.encode(name), ids) for name in names]
            self.known |= {word for name in names for word in words_of(name)}
        self.words.sort(key=lambda word: -len(word[0]))  # A1111 takes the longest name
        self.joined = frozenset(later)

    def encode(self, text: str) -> list[int]:
        ids, found, i = super().encode(text), list[int](), 0
        while i < len(ids):
            word = next((word for word in self.words if ids[i : i + len(word[0])] == word[0]), None)
            found += [ids[i]] if word is None else word[1]
            i += 1 if word is None else len(word[0])
        return found

    def unusual(self, texts: Iterable[str]) -> list[str]:
        return [word for word in super().unusual(texts) if word not in self.known]


class WithVectors(nn.Module):
    """The table of a text encoder's tokens, continued by the vectors of embeddings."""

    def __init__(self, table: nn.Embedding, vectors: Tensor) -> None:
        super().__init__()
        self.weight, self.vectors = table.weight, vectors.to(table.weight)

    def forward(self, ids: Tensor) -> Tensor:
        """(B, L) -> (B, L, D)"""
        own = ids - len(self.weight)
        known = F.embedding(ids.clamp(max=len(self.weight) - 1), self.weight)
        return torch.where(own[..., None] < 0, known, F.embedding(own.clamp(min=0), self.vectors))


def with_vectors(encoder: TextEncoder, vectors: Tensor) -> TextEncoder:
    """The same text encoder, of the same weights, that knows these tokens, too."""
    other = copy.copy(encoder)
    other._modules = {**encoder._modules, "token": WithVectors(encoder.token, vectors)}
    return other
