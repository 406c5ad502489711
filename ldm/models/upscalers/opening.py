"""From the file of an upscaler to a function on pictures."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ...runtime.tiles import in_tiles, overlap_of
from ..weights.errors import CheckpointError
from ..weights.loading import check_finite
from ..weights.mapped import Weight
from ..weights.matching import seems
from ..weights.opening import open_checkpoint
from .compact import Compact
from .names import compact, rrdb
from .rrdbnet import RRDBNet

TILE = 512  # pixels of a side that are enlarged at once


@dataclass(frozen=True)
class Upscaler:
    """name      of its file, without the ending
    network   pictures (B, 3, H, W) in [0, 1] -> (B, 3, sH, sW)
    scale     s
    fold      of what H and W are to be multiples
    """

    name: str
    network: Callable[[Tensor], Tensor]
    scale: float
    fold: int
    device: torch.device

    @torch.no_grad()
    def __call__(self, images: Tensor, tile: int | None = TILE) -> Tensor:
        """Pictures (B, 3, H, W) in [-1, 1] -> (B, 3, sH, sW), clamped, float32 on the CPU; one by
        one, and in overlapping tiles of so many pixels, so that memory follows the tile."""
        made = []
        for image in images.float().cpu().clamp(-1, 1).chunk(len(images)):
            whole = max(image.shape[-2:]) if tile is None else tile
            large = in_tiles(self.part, image, whole, overlap_of(whole, self.fold) // 2, self.scale)
            made.append(large.clamp(-1, 1))
        return torch.cat(made)

    def part(self, x: Tensor) -> Tensor:
        """The same of one tile: its edges are repeated up to a multiple of the fold."""
        height, width = x.shape[-2:]
        more = -width % self.fold, -height % self.fold
        x = F.pad((x + 1) / 2, (0, more[0], 0, more[1]), mode="replicate")
        large = self.network(x.to(self.device)).float().cpu()
        return large[..., : round(height * self.scale), : round(width * self.scale)] * 2 - 1


def open_upscaler(path: str | Path, device: torch.device | str = "cpu") -> Upscaler:
    """An RRDBNet (ESRGAN and its like) or a compact one of Real-ESRGAN; others by spandrel, if that
    is installed. CheckpointError: it is no upscaler, or damaged."""
    path = Path(os.path.expanduser(path))
    opened = open_checkpoint(path)
    where = torch.device(device)
    if (found := network_of(opened.weights)) is not None:
        network, state = found
        for name, tensor in state.items():
            check_finite(tensor, f"{name} in {path}")
        network.load_state_dict(state, assign=True)
        fold = network.config.fold if isinstance(network, RRDBNet) else 1
        network.eval().requires_grad_(False).to(where)
        return Upscaler(path.stem, network, float(network.scale), fold, where)
    if meant := seems(opened):
        raise CheckpointError(f"{path} is no upscaler that is known here{meant}")
    return by_spandrel(path, opened.weights, where)


def check_upscaler(path: str | Path) -> None:
    """The errors of `open_upscaler` that can be told from names and shapes."""
    path = Path(os.path.expanduser(path))
    opened = open_checkpoint(path)
    if known_as(opened.weights) is None:
        if meant := seems(opened):
            raise CheckpointError(f"{path} is no upscaler that is known here{meant}")
        spandrel(path)


def network_of(weights: Mapping[str, Weight]) -> tuple[RRDBNet | Compact, dict[str, Tensor]] | None:
    """The network whose layers these are, without memory, and its parameters in float32; None: a
    tensor is missing, left over, or of another shape."""
    named = known_as(weights)
    if named is None:
        return None
    network, rows = named
    left, found = dict(weights), {}
    for ours, expected in network.state_dict().items():
        layer, _, kind = ours.rpartition(".")
        weight = left.pop(f"{rows.get(layer, '')}.{kind}", None)
        if weight is None or weight.shape != expected.shape or not weight.dtype.is_floating_point:
            return None
        found[ours] = weight
    if left:
        return None
    return network, {name: weight.read(torch.float32) for name, weight in found.items()}


def known_as(weights: Mapping[str, Weight]) -> tuple[RRDBNet | Compact, dict[str, str]] | None:
    """By its names: the network of these sizes, without memory, and each layer's name there."""
    try:
        with torch.device("meta"):
            if (found := rrdb(weights)) is not None:
                return RRDBNet(found[0]), found[1]
            if (small := compact(weights)) is not None:
                return Compact(small[0]), small[1]
    except (ValueError, LookupError):  # names of an upscaler, and shapes of none
        return None
    return None


def spandrel(path: Path) -> Any:
    """The library, imported for the file at a path. It brings torchvision."""
    try:
        return import_module("spandrel")
    except ImportError as error:
        raise CheckpointError(
            f"{path} is no ESRGAN (RRDBNet) and no compact upscaler; for other architectures: "
            f"pip install spandrel ({error})"
        ) from None


def by_spandrel(path: Path, weights: Mapping[str, Weight], device: torch.device) -> Upscaler:
    """An upscaler of any other architecture that spandrel knows, from tensors that were read
    here."""
    library = spandrel(path)
    try:
        state = {name: weight.read() for name, weight in weights.items()}
        found = library.ModelLoader(device=device).load_from_state_dict(state)
    except Exception as error:  # of many kinds, its own and torch's
        raise CheckpointError(f"{path} is no upscaler that spandrel knows: {error}") from error
    if not isinstance(found, library.ImageModelDescriptor) or found.input_channels != 3:
        raise CheckpointError(f"{path} is of spandrel's kind {found.purpose}, not an upscaler")
    return Upscaler(path.stem, found.eval(), float(found.scale), 1, device)
