"""A checkpoint of any layout whose parameters have been found, and are read one by one."""

import os
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ..family import Family, parameter_shapes
from ..keymaps import KeyFormat
from ..weights.errors import CheckpointError
from ..weights.loading import Sources, check_finite, locate, merges_of
from ..weights.mapped import Weight
from ..weights.opening import OpenedCheckpoint, open_checkpoint
from ..weights.recognise import key_format_of
from ..weights.saving import Merges

MARKS = ("v_pred", "ztsnr")  # by which programs know a U-Net of SDXL that predicts v


@dataclass(frozen=True)
class Located:
    """family    what it is
    told      whether the file says what its U-Net predicts; else the family's is a guess
    sources   each parameter of ours -> its tensor in the file
    """

    opened: OpenedCheckpoint
    family: Family
    told: bool
    sources: Sources

    @property
    def key_format(self) -> KeyFormat:
        return key_format_of(self.opened)

    @property
    def merges(self) -> Merges:
        return merges_of(self.opened, self.family)

    @property
    def marks(self) -> dict[str, Weight]:
        return {name: self.opened.weights[name] for name in MARKS if name in self.opened.weights}

    def weight(self, ours: str) -> Weight:
        name, source = self.sources[ours]
        return self.opened.weights[name].part(*source.part)

    def shape_of(self, ours: str) -> tuple[int, ...]:
        return tuple(parameter_shapes(self.family)[ours])

    def read(self, ours: str, dtype: torch.dtype) -> Tensor:
        """A parameter of ours, in memory of its own: the file's is given back."""
        (name, source), weight = self.sources[ours], self.weight(ours)
        tensor = weight.read(dtype)
        if source.operation is not None:
            tensor = source.operation.ours(tensor)
        tensor = tensor.reshape(parameter_shapes(self.family)[ours])
        check_finite(tensor, f"{name} in {self.opened.path}")
        if weight.dtype == dtype:
            tensor = tensor.clone()
            weight.file.forget(weight.offset, weight.offset + weight.nbytes)
        return tensor


def located(
    path: str | Path,
    ema: bool | None = None,
    family: Family | None = None,
    prediction: str | None = None,
) -> Located:
    """See `read`, whose errors it has. A file of its own is opened for each, so that one's memory
    can be given back while another is read."""
    opened = open_checkpoint(Path(os.path.expanduser(path)))
    kind, sources = locate(opened, family, ema, prediction)
    if kind.family is None:
        raise CheckpointError(f"{path} is of no family that is known here")
    return Located(opened, kind.family, not kind.undecided, sources)
