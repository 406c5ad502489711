"""diffusers' layout: a folder for each part, with a config and the weights."""

import json
from pathlib import Path
from typing import Any, NamedTuple

from .errors import CheckpointError

PARTS = ("unet", "vae", "text_encoder")
FILES = tuple(
    stem + variant + suffix
    for suffix in (".safetensors", ".bin")
    for variant in ("", ".fp16")
    for stem in ("diffusion_pytorch_model", "model", "pytorch_model")
)


def weights_in(folder: Path) -> Path | None:
    """The file with the weights of a network, in full precision if there is a choice."""
    return next((folder / name for name in FILES if (folder / name).is_file()), None)


class Folder(NamedTuple):
    """files     of weights, by the names of their parts
    configs   by the names of their parts
    merges    of the tokenizer, one a line
    """

    files: dict[str, Path]
    configs: dict[str, Any]
    merges: str


def find_folder(path: Path) -> Folder:
    if not (path / "model_index.json").is_file():
        raise CheckpointError(
            f"{path} is no diffusers folder: it has no model_index.json{_better(path)}"
        )
    files = {part: weights_in(path / part) for part in PARTS}
    if absent := [part for part, file in files.items() if file is None]:
        names = f"{FILES[0]} or {FILES[-1]}"
        raise CheckpointError(
            f"{path / absent[0]} has no weights: a file like {names} should be there"
        )
    configs = {part: read_json(path / part / "config.json") for part in PARTS}
    configs["model_index"] = read_json(path / "model_index.json")
    configs["scheduler"] = read_json(path / "scheduler" / "scheduler_config.json")
    configs["tokenizer"], merges = open_tokenizer(path / "tokenizer")
    return Folder({part: file for part, file in files.items() if file}, configs, merges)


def open_tokenizer(path: Path) -> tuple[dict[str, Any], str]:
    """Its config, and its merges, one a line. transformers 5 has packed into tokenizer.json what
    were several files."""
    config = read_json(path / "tokenizer_config.json")
    if (path / "special_tokens_map.json").is_file():
        config |= read_json(path / "special_tokens_map.json")
    if (path / "merges.txt").is_file():
        return config, read_text(path / "merges.txt")
    model = read_json(path / "tokenizer.json").get("model")
    merges = model.get("merges") if isinstance(model, dict) else None
    if not isinstance(merges, list):
        raise CheckpointError(f"{path / 'tokenizer.json'} has no merges")
    return config, "\n".join(
        pair if isinstance(pair, str) else " ".join(map(str, pair)) for pair in merges
    )


def _better(path: Path) -> str:
    """What the user may have meant."""
    if (path.parent / "model_index.json").is_file():
        return f"; {path.parent} has one: give that"
    files = sorted(file for file in path.iterdir() if file.suffix in (".safetensors", ".ckpt"))
    return f"; give a file, like {files[0]}" if files else ""


def read_json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(read_text(path))
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} is no JSON: {error}") from error
    if not isinstance(found, dict):
        raise CheckpointError(f"{path} should be a JSON object, with names and values")
    return found


def read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise CheckpointError(f"{path} is no text: {error}") from error
