"""All that a network is told beside the noisy latent and its time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Conditioning:
    """A row for each latent of the batch.

    context   (B, L, D)       what cross-attention reads: the text
    vector    (B, V)          added to the embedding of the time: SDXL's pooled text and sizes, the
                              noise level of the x4 upscaler
    concat    (B, C', h, w)   channels beside those of the latent: mask and masked picture of an
                              inpainting model, depth, a picture of low resolution
    """

    context: Tensor
    vector: Tensor | None = None
    concat: Tensor | None = None

    @classmethod
    def of(cls, given: Conditioning | Tensor) -> Conditioning:
        """A bare context stands for a conditioning of nothing else."""
        return cls(given) if isinstance(given, Tensor) else given

    @classmethod
    def stack(cls, parts: Sequence[Conditioning]) -> Conditioning:
        """The rows of all parts, one after the other. All have, or none has, a vector and a
        concat."""
        context = torch.cat([part.context for part in parts])
        vector = _rows([part.vector for part in parts])
        return cls(context, vector, _rows([part.concat for part in parts]))

    def rows(self, count: int, dtype: torch.dtype) -> Conditioning:
        """The same in another number format; a single row is repeated."""
        if len(self) not in (1, count):
            raise ValueError(f"a conditioning of {len(self)} rows for {count} pictures")
        every = [0] * count if len(self) == 1 else slice(None)
        one = self[every]
        vector, concat = (None if x is None else x.to(dtype) for x in (one.vector, one.concat))
        return Conditioning(one.context.to(dtype), vector, concat)

    def __getitem__(self, rows: slice | list[int] | Tensor) -> Conditioning:
        """Some of the rows."""
        return Conditioning(
            self.context[rows],
            None if self.vector is None else self.vector[rows],
            None if self.concat is None else self.concat[rows],
        )

    def __len__(self) -> int:
        return len(self.context)


def _rows(values: Sequence[Tensor | None]) -> Tensor | None:
    there = [value for value in values if value is not None]
    if there and len(there) < len(values):
        raise ValueError("some conditionings of a batch have a vector or concat, and others none")
    return torch.cat(there) if there else None
