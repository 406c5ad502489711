"""Some networks of a model, from a whole checkpoint or from a file of one alone."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn

from ..family import Family
from ..keymaps import KeyFormat, prefixes, table
from .foreign import known_family
from .loading import load
from .matching import match
from .opening import OpenedCheckpoint, open_checkpoint
from .recognise import recognise


def read_components(
    path: str | Path,
    components: Sequence[str],
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
    ema: bool | None = None,
    family: Family | None = None,
) -> nn.ModuleDict:
    """Some networks of a model, by their names: "unet", "vae", "text", "text2".

    The path is a whole checkpoint's, or that of a file or a diffusers folder of the one network
    alone, whose family must then be given. Errors and all else: as `read`.
    """
    opened = open_checkpoint(path, alone=True)
    return components_of(opened, components, dtype, device, ema, family)


def components_of(
    opened: OpenedCheckpoint,
    components: Sequence[str],
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
    ema: bool | None = None,
    family: Family | None = None,
) -> nn.ModuleDict:
    """The same of a file or folder that is open already."""
    family = known_family(opened, recognise(opened, family).family)
    known = list(prefixes(family, "ldm"))
    if unknown := [name for name in components if name not in known]:
        raise ValueError(f"{family.name} has no {unknown[0]!r}: it has {', '.join(known)}")
    key_format, bare = key_format_of_part(opened, family, components)
    found = match(opened, family, key_format, ema, components, bare)
    found.check(opened)
    return load(opened, family, found.sources, dtype, device)


def key_format_of_part(
    opened: OpenedCheckpoint, family: Family, components: Sequence[str]
) -> tuple[KeyFormat, bool]:
    """Of some networks of a family: in which format most of their names are there, and whether
    without the beginning that tells the network."""
    formats: tuple[KeyFormat, ...] = ("compvis", "diffusers", "ldm")
    choices = [(key_format, bare) for bare in (False, True) for key_format in formats]

    def found(choice: tuple[KeyFormat, bool]) -> int:
        sources = table(family, *choice).values()
        wanted = [source for source in sources if source.component in components]
        return sum(any(name in opened.weights for name in source.names) for source in wanted)

    return max(choices if len(components) == 1 else choices[:3], key=found)
