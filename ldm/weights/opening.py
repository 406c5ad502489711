"""What lies at a path: told by its content, never by its name, and opened without reading a single tensor."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .mapped import CheckpointError, MappedFile, Weight
from .safetensors import is_safetensors, read_safetensors
from .torchfile import is_legacy, is_zip, read_legacy, read_zip


@dataclass(frozen=True)
class Opened:
    """container   safetensors, torch or folder
    weights     all tensors by their names; in a folder <part>.<name>
    metadata    of a safetensors header
    configs     of a diffusers folder, by the names of their folders
    merges      of the tokenizer, one a line, if there are any
    """

    path: Path
    container: str
    weights: dict[str, Weight]
    metadata: Mapping[str, str] = field(default_factory=dict)
    configs: Mapping[str, Any] = field(default_factory=dict)
    merges: str | None = None


def open_checkpoint(path: str | Path) -> Opened:
    """A file, or a diffusers folder. CheckpointError says what is there instead."""
    path = Path(os.path.expanduser(path))  # Path.expanduser raises where there is no such user
    try:
        if path.is_dir():
            return open_folder(path)
        return open_file(path)
    except FileNotFoundError as error:
        raise CheckpointError(f"there is no file or folder {error.filename}") from error
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror}") from error


def open_file(path: Path) -> Opened:
    with path.open("rb") as file:
        start = file.read(1024)
    if not start:
        raise CheckpointError(f"{path} is empty: download it again")
    if not (is_safetensors(start) or is_zip(start) or is_legacy(start)):
        raise CheckpointError(f"{path} is not a checkpoint: {_looks_like(start)}")
    mapped = MappedFile(path)
    if is_safetensors(start):
        weights, metadata = read_safetensors(mapped)
        return Opened(path, "safetensors", weights, metadata, merges=metadata.get("merges"))
    return Opened(path, "torch", read_zip(mapped) if is_zip(start) else read_legacy(mapped))


CONTENTS = (  # the first bytes of what people take for a checkpoint
    (b"<", "it is a web page; the download needs a login, or its address is wrong"),
    (b"version https://git-lfs", "it is Git's pointer to a file that was not fetched; run `git lfs pull`"),
    (b"{", "it is JSON text, perhaps a server's error message; download the file again"),
    (b"\x1f\x8b", "it is compressed with gzip; unpack it first"),
    (b"7z\xbc\xaf", "it is a 7z archive; unpack it first"),
    (b"Rar!", "it is a RAR archive; unpack it first"),
    (b"GGUF", "it is in the GGUF format of llama.cpp, which is not supported; take the .safetensors file"),
    (b"\x89PNG", "it is a picture"),
    (b"\xff\xd8\xff", "it is a picture"),
    (b"\x80", "it is a pickle that torch did not write"),
    (b"\0" * 16, "it begins with zeros; the download did not finish"),
)


def _looks_like(start: bytes) -> str:
    text = start.lstrip(b"\xef\xbb\xbf \t\r\n")
    for sign, meaning in CONTENTS:
        if text.startswith(sign):
            return meaning
    return f"it begins with {start[:8]!r}, which no format of checkpoints does"


PARTS = ("unet", "vae", "text_encoder")
FILES = tuple(
    stem + variant + suffix
    for suffix in (".safetensors", ".bin")
    for variant in ("", ".fp16")
    for stem in ("diffusion_pytorch_model", "model", "pytorch_model")
)


def open_folder(path: Path) -> Opened:
    """diffusers' layout: a folder for each part, with a config and the weights."""
    if not (path / "model_index.json").is_file():
        raise CheckpointError(f"{path} is no diffusers folder: it has no model_index.json{_better(path)}")
    weights: dict[str, Weight] = {}
    for part in PARTS:
        found = next((path / part / name for name in FILES if (path / part / name).is_file()), None)
        if found is None:
            raise CheckpointError(
                f"{path / part} has no weights: a file like {FILES[0]} or {FILES[-1]} should be there"
            )
        weights |= {f"{part}.{name}": weight for name, weight in open_file(found).weights.items()}
    configs = {part: read_json(path / part / "config.json") for part in PARTS}
    configs["scheduler"] = read_json(path / "scheduler" / "scheduler_config.json")
    configs["tokenizer"], merges = open_tokenizer(path / "tokenizer")
    return Opened(path, "folder", weights, configs=configs, merges=merges)


def open_tokenizer(path: Path) -> tuple[dict[str, Any], str]:
    """Its config, and its merges, one a line. transformers 5 has packed into tokenizer.json what were several files."""
    config = read_json(path / "tokenizer_config.json")
    if (path / "special_tokens_map.json").is_file():
        config |= read_json(path / "special_tokens_map.json")
    if (path / "merges.txt").is_file():
        return config, read_text(path / "merges.txt")
    model = read_json(path / "tokenizer.json").get("model")
    merges = model.get("merges") if isinstance(model, dict) else None
    if not isinstance(merges, list):
        raise CheckpointError(f"{path / 'tokenizer.json'} has no merges")
    return config, "\n".join(pair if isinstance(pair, str) else " ".join(map(str, pair)) for pair in merges)


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
