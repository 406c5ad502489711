"""From the three networks in memory to a file or a folder."""

import json
import os
from pathlib import Path

import torch
from torch import Tensor, nn

from ...runtime.files import replacing
from ...vae import VAE
from ..keymaps import KeyFormat, table
from ..unread import without_unread_layers
from .loading import Checkpoint
from .write_folder import write_folder
from .write_safetensors import write_safetensors


def save(path: str | Path, checkpoint: Checkpoint, layout: KeyFormat = "ldm") -> None:
    """Write a model so that `read` gives back the same numbers. What was there before is replaced
    at the very end.

    layout   ldm         one file, *.safetensors, that says itself which family it is and holds the
             tokenizer's merges
             compvis     the same with the names that Stable Diffusion's own code, and most
                         programs, look for
             diffusers   a folder
    """
    path = Path(os.path.expanduser(path))
    if not isinstance(checkpoint.vae, VAE):
        raise ValueError("a tiny autoencoder cannot be saved in a model: load it without --vae")
    if layout not in ("ldm", "compvis", "diffusers"):
        raise ValueError(f"layout {layout!r} is unknown: choose 'ldm', 'compvis' or 'diffusers'")
    if layout == "diffusers":
        if path.exists() and not (path / "model_index.json").exists() and not is_empty_folder(path):
            raise ValueError(
                f"{path} is there and is no diffusers folder: give another name, or remove it first"
            )
        with replacing(path) as temporary:
            write_folder(temporary, checkpoint, renamed(checkpoint, layout))
    else:
        if path.suffix != ".safetensors":
            raise ValueError(f"{path} should end in .safetensors")
        if path.is_dir():
            raise ValueError(
                f"{path} is a folder, and would be lost: give another name, or remove it first"
            )
        with replacing(path) as temporary:
            write_safetensors(temporary, renamed(checkpoint, layout), header(checkpoint))


def is_empty_folder(path: Path) -> bool:
    return path.is_dir() and not any(path.iterdir())


def renamed(checkpoint: Checkpoint, key_format: KeyFormat) -> dict[str, Tensor]:
    """All parameters, under the names and in the shapes of a key format."""
    networks = nn.ModuleDict({"unet": checkpoint.unet, "vae": checkpoint.vae})
    for i, tower in enumerate(checkpoint.text):
        networks[f"text{i + 1 if i else ''}"] = tower
    family = checkpoint.family
    sources = table(family, key_format)
    written = (
        table(without_unread_layers(family), key_format) if key_format == "diffusers" else sources
    )
    parts: dict[str, dict[int, Tensor]] = {}
    for ours, tensor in networks.state_dict().items():
        source = sources[ours]
        if ours not in written:
            continue
        theirs = tensor if source.operation is None else source.operation.theirs(tensor)
        parts.setdefault(source.names[0], {})[source.part[0]] = theirs
    return {
        name: found[0] if len(found) == 1 else torch.cat([found[i] for i in sorted(found)])
        for name, found in parts.items()
    }


def header(checkpoint: Checkpoint) -> dict[str, str]:
    """ "format" is for other programs."""
    metadata = {"format": "pt", "ldm": "1", "family": json.dumps(checkpoint.family.to_dict())}
    if checkpoint.merges is not None:
        metadata["merges"] = "\n".join(map(" ".join, checkpoint.merges))
    return metadata
