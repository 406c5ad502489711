"""From the three networks in memory to a file or a folder."""

import json
import os
from pathlib import Path
from typing import Any

from torch import Tensor

from ..clip.tokenizer import Tokenizer
from ..files import replacing
from ..keymaps import Naming, table
from .folder import configs_of
from .loading import Checkpoint
from .safetensors import write_safetensors


def save(path: str | Path, checkpoint: Checkpoint, layout: Naming = "ldm") -> None:
    """Write a model so that `read` gives back the same numbers. What was there before is replaced at the very end.

    layout   ldm         one file, *.safetensors, that says itself which family it is and holds the tokenizer's merges
             compvis     the same with the names that Stable Diffusion's own code, and most programs, look for
             diffusers   a folder
    """
    path = Path(os.path.expanduser(path))
    if layout not in ("ldm", "compvis", "diffusers"):
        raise ValueError(f"layout {layout!r} is unknown: choose 'ldm', 'compvis' or 'diffusers'")
    if layout == "diffusers":
        if path.exists() and not (path / "model_index.json").exists() and not is_empty_folder(path):
            raise ValueError(f"{path} is there and is no diffusers folder: give another name, or remove it first")
        with replacing(path) as temporary:
            write_folder(temporary, checkpoint)
    else:
        if path.suffix != ".safetensors":
            raise ValueError(f"{path} should end in .safetensors, for that is what is written")
        if path.is_dir():
            raise ValueError(f"{path} is a folder, and would be lost: give another name, or remove it first")
        with replacing(path) as temporary:
            write_safetensors(temporary, renamed(checkpoint, layout), header(checkpoint))


def is_empty_folder(path: Path) -> bool:
    return path.is_dir() and not any(path.iterdir())


def renamed(checkpoint: Checkpoint, naming: Naming) -> dict[str, Tensor]:
    """All parameters, under the names and in the shapes of a naming."""
    networks = {"text": checkpoint.text, "unet": checkpoint.unet, "vae": checkpoint.vae}
    state = {f"{part}.{name}": tensor for part, net in networks.items() for name, tensor in net.state_dict().items()}
    sources = table(checkpoint.family, naming)
    return {sources[name].names[0]: sources[name].operation.theirs(tensor) for name, tensor in state.items()}


def header(checkpoint: Checkpoint) -> dict[str, str]:
    """ "format" is for other programs."""
    metadata = {"format": "pt", "ldm": "1", "family": json.dumps(checkpoint.family.to_dict())}
    if checkpoint.merges is not None:
        metadata["merges"] = "\n".join(map(" ".join, checkpoint.merges))
    return metadata


def write_folder(path: Path, checkpoint: Checkpoint) -> None:
    configs = configs_of(checkpoint.family)
    tensors = renamed(checkpoint, "diffusers")
    for part, stem in (
        ("unet", "diffusion_pytorch_model"),
        ("vae", "diffusion_pytorch_model"),
        ("text_encoder", "model"),
    ):
        write_json(path / part / "config.json", configs[part])
        inside = {name.removeprefix(f"{part}."): tensors[name] for name in tensors if name.startswith(f"{part}.")}
        write_safetensors(path / part / f"{stem}.safetensors", inside, {"format": "pt"})
    tokenizer = Tokenizer(checkpoint.merges)
    write_json(path / "tokenizer" / "vocab.json", tokenizer.vocabulary)
    merges = "".join(f"{left} {right}\n" for left, right in tokenizer.merges)
    (path / "tokenizer" / "merges.txt").write_text("#version: 0.2\n" + merges, encoding="utf-8")
    write_json(path / "tokenizer" / "tokenizer_config.json", configs["tokenizer"])
    special = {name: token for name, token in configs["tokenizer"].items() if name.endswith("_token")}
    write_json(path / "tokenizer" / "special_tokens_map.json", special)
    write_json(path / "scheduler" / "scheduler_config.json", configs["scheduler"])
    write_json(path / "model_index.json", configs["model_index"])


def write_json(path: Path, values: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(values, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
