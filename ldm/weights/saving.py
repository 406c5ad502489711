"""From the three networks in memory to a file."""

import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from torch import Tensor

from ..keymaps import Naming, table
from .loading import Checkpoint
from .safetensors import write_safetensors


def save(path: str | Path, checkpoint: Checkpoint, layout: Naming = "ldm") -> None:
    """Write a model so that `read` gives back the same numbers. What was there before is replaced at the very end.

    layout   ldm         one file of ours: it says itself which family it is, and holds the tokenizer
             compvis     one file that Stable Diffusion's own code and most programs read
             diffusers   a folder
    """
    path = Path(path).expanduser()
    if layout not in ("ldm", "compvis", "diffusers"):
        raise ValueError(f"layout {layout!r} is unknown: choose 'ldm', 'compvis' or 'diffusers'")
    if path.suffix != ".safetensors":
        raise ValueError(f"{path} should end in .safetensors, as that is what would be written")
    with replacing(path) as temporary:
        write_safetensors(temporary, renamed(checkpoint, layout), header(checkpoint))


def renamed(checkpoint: Checkpoint, naming: Naming) -> dict[str, Tensor]:
    """All parameters, under the names and in the shapes of a naming."""
    networks = {"text": checkpoint.text, "unet": checkpoint.unet, "vae": checkpoint.vae}
    state = {f"{part}.{name}": tensor for part, net in networks.items() for name, tensor in net.state_dict().items()}
    sources = table(checkpoint.family, naming)
    return {sources[name].names[0]: sources[name].operation.theirs(tensor) for name, tensor in state.items()}


def header(checkpoint: Checkpoint) -> dict[str, str]:
    metadata = {"format": "pt", "ldm": "1", "family": json.dumps(checkpoint.family.to_dict())}
    if checkpoint.merges is not None:
        metadata["merges"] = "\n".join(f"{left} {right}" for left, right in checkpoint.merges)
    return metadata


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary name beside `path`, which takes its place once everything is written."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    os.close(handle)
    try:
        yield Path(name)
        os.replace(name, path)
    except BaseException:
        os.unlink(name)
        raise
