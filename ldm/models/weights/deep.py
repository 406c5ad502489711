"""Files of torch whose tensors lie deeper than those of checkpoints, and that say something beside
them: embeddings and hypernetworks."""

from pathlib import Path
from typing import Any

from .errors import CheckpointError
from .guess import looks_like
from .mapped import MappedFile, is_safetensors, read_safetensors
from .names import Stored
from .opening import OpenedCheckpoint
from .torchfile import is_legacy, is_zip, read_legacy, read_zip


def open_deep(path: Path) -> OpenedCheckpoint:
    """A file, its tensors by names such as string_to_param.*, and as its metadata the words and
    numbers beside them. CheckpointError: it is something else, or damaged."""
    try:
        with path.open("rb") as file:
            start = file.read(1024)
        if not start:
            raise CheckpointError(f"{path} is empty: download it again")
        if is_safetensors(start):
            return OpenedCheckpoint(path, "safetensors", *read_safetensors(MappedFile(path)))
        if not (is_zip(start) or is_legacy(start)):
            raise CheckpointError(f"{path} is no file of tensors: {looks_like(start)}")
        said: dict[str, str] = {}

        def pick(content: Any, path: Path) -> dict[str, Stored]:
            said.update(words(content))
            return all_tensors(content)

        weights = (read_zip if is_zip(start) else read_legacy)(MappedFile(path), pick)
        return OpenedCheckpoint(path, "torch", weights, said)
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror}") from error


def all_tensors(content: Any, inside: str = "") -> dict[str, Stored]:
    """Tensors in dictionaries, lists and tuples, three deep."""
    items: Any = enumerate(content) if isinstance(content, list | tuple) else ()
    items = content.items() if isinstance(content, dict) else items
    found: dict[str, Stored] = {}
    for name, value in list(items)[:1000]:
        if isinstance(value, Stored):
            found[f"{inside}{name}"] = value
        elif inside.count(".") < 2:
            found |= all_tensors(value, f"{inside}{name}.")
    return found


def words(content: Any) -> dict[str, str]:
    items: Any = content.items() if isinstance(content, dict) else ()
    return {
        name: str(value)
        for name, value in items
        if isinstance(name, str) and isinstance(value, str | bool | int | float)
    }
