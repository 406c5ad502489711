"""What is trained on: anything with `len(data)` and `data[i] -> picture (size, size, 3) uint8, caption`.

Scenes(count, size)      drawn when asked for, nothing to download
Folder(path, size)       pictures with captions: x.png beside x.txt, or a metadata.jsonl
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from ..images import open_image
from .scenes import Image, example

PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".bmp")


class Data(Protocol):
    def __len__(self) -> int: ...
    def __getitem__(self, index: int) -> tuple[Image, str]: ...


@dataclass(frozen=True)
class Scenes:
    """The first `count` procedural scenes of a seed, without those held out; for evaluation, only those."""

    count: int
    size: int
    seed: int = 0
    evaluation: bool = False

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> tuple[Image, str]:
        return example(self.seed, range(self.count)[index], self.size, self.evaluation)


class Folder:
    """A folder's pictures, their middle square scaled to size x size, in the order of their names.

    Captions are what Hugging Face's `metadata.jsonl` says, a {"file_name": ..., "text": ...} a line, where there is
    one; otherwise each picture, in subfolders too, has its caption beside it: a.png in a.txt.
    Raises ValueError, which names the file, for a picture without a caption, a caption's picture that is not there,
    a file that cannot be read, and a folder without pictures.
    """

    def __init__(self, path: str | Path, size: int) -> None:
        folder = Path(path)
        if not folder.is_dir():
            raise ValueError(f"there is no folder {str(folder)!r} to train on")
        listing = folder / "metadata.jsonl"
        self.size = size
        self.examples = sorted(_listed(listing) if listing.is_file() else _beside(folder))
        if not self.examples:
            raise ValueError(f"there are no pictures ({', '.join(PICTURES)}) in {str(folder)!r}")

    def __len__(self) -> int:
        return len(self.examples)

    def __getitem__(self, index: int) -> tuple[Image, str]:
        from PIL.Image import Resampling
        from PIL.ImageOps import fit

        path, caption = self.examples[index]
        return np.array(fit(open_image(path), (self.size, self.size), Resampling.LANCZOS)), caption


def _read(path: Path) -> str:
    try:
        return path.read_text("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{str(path)!r} is not text in UTF-8: {error}") from None


def _beside(folder: Path) -> Iterator[tuple[Path, str]]:
    for path in folder.rglob("*"):
        if path.suffix.lower() in PICTURES and not path.name.startswith("."):
            caption = path.with_suffix(".txt")
            if not caption.is_file():
                raise ValueError(f"{str(path)!r} has no caption: write it into {caption.name!r} beside it")
            yield path, " ".join(_read(caption).split())


def _listed(listing: Path) -> Iterator[tuple[Path, str]]:
    for number, line in enumerate(_read(listing).splitlines(), start=1):
        where = f"{str(listing)!r}, line {number}"
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            name, caption = row["file_name"], row["text"]
        except (ValueError, KeyError, TypeError):
            raise ValueError(f'{where} must be {{"file_name": ..., "text": ...}}, not {line[:80]}') from None
        if not isinstance(name, str) or not isinstance(caption, str):
            raise ValueError(f"{where}: file_name and text must be strings, not {name!r} and {caption!r}")
        path = listing.parent / name
        if not path.is_file():
            raise ValueError(f"{where}: there is no picture {str(path)!r}")
        yield path, caption
