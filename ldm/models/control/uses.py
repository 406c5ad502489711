"""What the tensors of a ControlNet do not tell: whether it says one thing of the whole picture, as
that for shuffled pictures does (Zhang et al.'s global average pooling), and whether it is shown
what is inpainted."""

import re
from pathlib import Path

from ..weights.errors import CheckpointError
from ..weights.folder_files import read_json, read_text

NAMED = re.compile(r"(?:^|[_-])(shuffle|inpaint)(?:[_.-](?:fp16|fp32|bf16))*$", re.IGNORECASE)
POOLING = re.compile(r"^\s*global_average_pooling:\s*true\b", re.IGNORECASE | re.MULTILINE)


def named_for(path: Path) -> str | None:
    """ "shuffle" or "inpaint", as the names of lllyasviel's files end; None: another name."""
    stem = path.name if path.is_dir() else path.stem
    found = NAMED.search(stem)
    return None if found is None else found[1].lower()


def pools(path: Path) -> bool:
    """Whether what it says is averaged over the picture: as the config of diffusers' folder, or
    the one beside the original's file, states it; else as the name does, which is ComfyUI's way."""
    config = (path if path.is_dir() else path.parent) / "config.json"
    try:
        if config.is_file() and (path.is_dir() or path.stem.startswith("diffusion_pytorch_model")):
            return read_json(config).get("global_pool_conditions") is True
        if (beside := path.with_suffix(".yaml")).is_file():
            return POOLING.search(read_text(beside)) is not None
    except OSError as error:
        raise CheckpointError(f"{path}: its config cannot be read: {error.strerror}") from error
    return named_for(path) == "shuffle"
