"""From the three networks in memory to a file or a folder."""

import json
import os
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from ...runtime.files import replacing
from ...vae import VAE
from ..family import Family
from ..keymaps import KeyFormat, Source, table
from ..unread import without_unread_layers
from .checkpoint import Checkpoint
from .write_folder import write_folder
from .write_safetensors import Planned, write_safetensors

Merges = tuple[tuple[str, str], ...] | None  # of a tokenizer, see `Checkpoint`

SINGLE_FILES = (".safetensors", ".ckpt", ".pt", ".pth", ".bin")  # what the names of files end in


def save(path: str | Path, checkpoint: Checkpoint, layout: KeyFormat = "ldm") -> None:
    """Write a model so that `read` gives back the same numbers. What was there before is replaced
    at the very end.

    layout   ldm         one file, *.safetensors, that says itself which family it is and holds the
             tokenizer's merges
             compvis     the same with the names that Stable Diffusion's own code, and most
                         programs, look for
             diffusers   a folder
    """
    path = checked(path, layout)
    if not isinstance(checkpoint.vae, VAE):
        raise ValueError("a tiny autoencoder cannot be saved in a model: load it without --vae")
    tensors: dict[str, Tensor | Planned] = {**renamed(checkpoint, layout)}
    if checkpoint.depth is not None:
        tensors |= checkpoint.depth.planned(layout)
    write(path, checkpoint.family, checkpoint.merges, tensors, layout)


def checked(path: str | Path, layout: str) -> Path:
    """Where a model is to be written. ValueError: it cannot be."""
    path = Path(os.path.expanduser(path))
    if layout not in ("ldm", "compvis", "diffusers"):
        raise ValueError(f"layout {layout!r} is unknown: choose 'ldm', 'compvis' or 'diffusers'")
    if layout == "diffusers":
        if path.suffix.lower() in SINGLE_FILES:
            raise ValueError(
                f"{path} is the name of a file, and diffusers' layout is a folder: leave out "
                f"{path.suffix}, or take the layout 'compvis' or 'ldm'"
            )
        if path.exists() and not (path / "model_index.json").exists() and not is_empty_folder(path):
            raise ValueError(
                f"{path} is there and is no diffusers folder: give another name, or remove it first"
            )
    else:
        if path.suffix != ".safetensors":
            raise ValueError(f"{path} should end in .safetensors")
        if path.is_dir():
            raise ValueError(
                f"{path} is a folder, and would be lost: give another name, or remove it first"
            )
    return path


def write(
    path: Path,
    family: Family,
    merges: Merges,
    tensors: Mapping[str, Tensor | Planned],
    layout: KeyFormat,
    metadata: Mapping[str, str] | None = None,
    sure: bool = True,
) -> None:
    """The file or the folder, once it is whole.

    tensors    by the names of the layout
    metadata   besides those that this library reads
    sure       whether a file is to state the family; else that is left to be told by its names
    """
    told = {} if metadata is None else dict(metadata)
    with replacing(path) as temporary:
        if layout == "diffusers":
            write_folder(temporary, family, merges, tensors, told)
        else:
            write_safetensors(temporary, tensors, header(family, merges, sure) | told)


def is_empty_folder(path: Path) -> bool:
    return path.is_dir() and not any(path.iterdir())


def renamed(checkpoint: Checkpoint, key_format: KeyFormat) -> dict[str, Tensor]:
    """All parameters, under the names and in the shapes of a key format."""
    networks = nn.ModuleDict({"unet": checkpoint.unet, "vae": checkpoint.vae})
    networks.update(dict(checkpoint.others.items()))
    for i, tower in enumerate(checkpoint.text):
        networks[f"text{i + 1 if i else ''}"] = tower
    state = networks.state_dict()
    return {
        name: joined([theirs(source, state[ours]) for ours, source in parts])
        for name, parts in written(checkpoint.family, key_format).items()
    }


def written(family: Family, key_format: KeyFormat) -> dict[str, list[tuple[str, Source]]]:
    """Each tensor that a key format has -> the parameters of ours that are its parts, in their
    order."""
    less = without_unread_layers(family) if key_format == "diffusers" else family
    found: dict[str, list[tuple[str, Source]]] = {}
    for ours, source in table(less, key_format).items():
        found.setdefault(source.names[0], []).append((ours, source))
    return {name: sorted(parts, key=lambda part: part[1].part) for name, parts in found.items()}


def theirs(source: Source, tensor: Tensor) -> Tensor:
    return tensor if source.operation is None else source.operation.theirs(tensor)


def joined(parts: list[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def header(family: Family, merges: Merges, sure: bool = True) -> dict[str, str]:
    """ "format" is for other programs."""
    metadata = {"format": "pt"}
    if sure:
        metadata |= {"ldm": "1", "family": json.dumps(family.to_dict())}
    if merges is not None:
        metadata["merges"] = "\n".join(map(" ".join, merges))
    return metadata
