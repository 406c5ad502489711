"""What is trained on: examples with a length, data[i] -> picture, caption, and a list of contents.

Folder(path, size)                  pictures with captions: x.png beside x.txt, or a metadata.jsonl
shapes.scenes.Scenes(count, size)   drawn when asked for, nothing to download
things.data.Things(collection, ...) pictures of things that scripts/build_pictures.py renders
"""

import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..images.files import open_image
from ..runtime.warn import warn

Image = NDArray[np.uint8]  # (size, size, 3)
PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".avif")
CAPTION = 2000  # letters: more than text encoders read


class Data(Protocol):
    def __len__(self) -> int: ...
    def __getitem__(self, index: int) -> tuple[Image, str]: ...
    def contents(self) -> list[str]:
        """Lines that differ from those of any other data: a training is not resumed with others."""

    def name(self, index: int) -> str:
        """What a message calls this example."""


def examples(data: Data, indices: Iterable[int], device: torch.device) -> tuple[Tensor, list[str]]:
    """Pictures (B, 3, size, size) float32 in [-1, 1], and their captions."""
    pixels, captions = zip(*(data[i] for i in indices), strict=True)
    images = torch.from_numpy(np.stack(pixels)).to(device).permute(0, 3, 1, 2)
    return images.float() / 127.5 - 1, list(captions)


class Folder:
    """A folder's pictures, their middle square scaled to size x size, in the order of their names.

    Captions are what Hugging Face's `metadata.jsonl` says, a {"file_name": ..., "text": ...} a
    line, where there is one; otherwise each picture, in subfolders too, has its caption beside it:
    a.png in a.txt. Raises ValueError, which names the file, for a picture without a caption, a
    caption's picture that is not there, a file that cannot be read, and a folder without pictures.
    Warns of files with a caption that are none of PICTURES.
    """

    def __init__(self, path: str | Path, size: int) -> None:
        folder = Path(path)
        if not folder.is_dir():
            raise ValueError(f"there is no folder {named(folder)} to train on")
        listing = folder / "metadata.jsonl"
        self.folder, self.size = folder, size
        self.examples = sorted(_listed(listing) if listing.is_file() else _beside(folder))
        if not self.examples:
            raise ValueError(f"there are no pictures ({', '.join(PICTURES)}) in {named(folder)}")

    def __len__(self) -> int:
        return len(self.examples)

    def __getitem__(self, index: int) -> tuple[Image, str]:
        from PIL.Image import Resampling
        from PIL.ImageOps import fit

        path, caption = self.examples[index]
        try:
            picture = open_image(path)
        except ValueError as error:
            what = str(error).rpartition("as a picture: ")[2]
            raise ValueError(f"{named(path)} cannot be read as a picture: {cut(what)}") from None
        return np.array(fit(picture, (self.size, self.size), Resampling.LANCZOS)), caption

    def contents(self) -> list[str]:
        """Each picture's name and caption."""
        return [
            f"{Path(os.path.relpath(path, self.folder)).as_posix()}: {text}"
            for path, text in self.examples
        ]

    def name(self, index: int) -> str:
        return named(self.examples[index][0])


def cut(text: str) -> str:
    """At most 200 printable characters of a text, for a message."""
    return "".join(letter if letter.isprintable() else "?" for letter in text[:200])


def named(path: Path) -> str:
    """A path in quotes, for a message: printable, and of one that is very long the end."""
    whole = repr(str(path))
    return whole if len(whole) <= 200 else f"'...{whole[-196:]}"


def _read(path: Path, most: float = float("inf")) -> str:
    try:
        if path.stat().st_size > most:
            raise ValueError(f"{named(path)} is larger than captions are")
        return path.read_text("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{named(path)} is not text in UTF-8: {error}") from None
    except OSError as error:
        raise ValueError(f"{named(path)} cannot be read: {error.strerror}") from None


def _caption(text: str) -> str:
    """White space counts as one space, which is all that a tokenizer sees of it."""
    return " ".join(text.split())[:CAPTION]


def _beside(folder: Path) -> Iterator[tuple[Path, str]]:
    files = [path for path in folder.rglob("[!.]*") if path.is_file()]
    pictures = [path for path in files if path.suffix.lower() in PICTURES]
    for path in pictures:
        caption = path.with_suffix(".txt")
        if not caption.is_file():
            raise ValueError(
                f"{named(path)} has no caption: write it into {named(Path(caption.name))} beside it"
            )
        yield path, _caption(_read(caption, most=1e6))
    captions = {path.with_suffix("") for path in files if path.suffix == ".txt"}
    captions -= {path.with_suffix("") for path in pictures}
    others = [path for path in files if path.suffix != ".txt" and path.with_suffix("") in captions]
    if others:
        warn(
            f"{len(others)} files with a caption are left out, since they are none of "
            f"{', '.join(PICTURES)}: first {named(min(others))}"
        )


def _listed(listing: Path) -> Iterator[tuple[Path, str]]:
    for number, line in enumerate(_read(listing).split("\n"), start=1):
        where = f"{named(listing)}, line {number}"
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            name, caption = row["file_name"], row["text"]
        except (ValueError, KeyError, TypeError, RecursionError):
            raise ValueError(
                f'{where} must be {{"file_name": ..., "text": ...}}, not {cut(line[:80])}'
            ) from None
        if not isinstance(name, str) or not isinstance(caption, str):
            kinds = f"{type(name).__name__} and {type(caption).__name__}"
            raise ValueError(f"{where}: file_name and text must be strings, not {kinds}")
        path = listing.parent / name
        if not os.path.isfile(path):
            raise ValueError(f"{where}: there is no picture {named(path)}")
        if not caption.isascii() and any("\ud800" <= letter <= "\udfff" for letter in caption):
            raise ValueError(f"{where}: the text holds half a letter, as \\ud800 is")
        yield path, _caption(caption)
