"""All that a network is told beside the noisy latent and its time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Conditioning:
    """A row for each latent of the batch.

    context    (B, L, D)       what cross-attention reads: the text
    vector     (B, V)          added to the embedding of the time: SDXL's pooled text and sizes, the
                               noise level of the x4 upscaler
    concat     (B, C', h, w)   channels beside those of the latent: mask and masked picture of an
                               inpainting model, depth, a picture of low resolution
    guidance   (B,)            the guidance scale, for networks that it was distilled into
    """

    context: Tensor
    vector: Tensor | None = None
    concat: Tensor | None = None
    guidance: Tensor | None = None

    @classmethod
    def of(cls, given: Conditioning | Tensor) -> Conditioning:
        """A bare context stands for a conditioning of nothing else."""
        return cls(given) if isinstance(given, Tensor) else given

    @classmethod
    def stack(cls, parts: Sequence[Conditioning]) -> Conditioning:
        """The rows of all parts, one after the other. All have, or none has, a vector, a concat and
        a guidance."""
        context = torch.cat([part.context for part in parts])
        return cls(context, *(_rows([getattr(part, name) for part in parts]) for name in BESIDE))

    def __getitem__(self, rows: slice | list[int] | Tensor) -> Conditioning:
        """Some of the rows."""
        beside = (getattr(self, name) for name in BESIDE)
        return Conditioning(self.context[rows], *(x if x is None else x[rows] for x in beside))

    def __len__(self) -> int:
        return len(self.context)


BESIDE = ("vector", "concat", "guidance")  # the fields that may be None


def _rows(values: Sequence[Tensor | None]) -> Tensor | None:
    there = [value for value in values if value is not None]
    if there and len(there) < len(values):
        raise ValueError("some conditionings of a batch have more than their context, others not")
    return torch.cat(there) if there else None
