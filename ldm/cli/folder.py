"""Where the pictures of a command go, in the layout of CompVis's scripts."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..images.files import save_image
from ..images.sheets import save_gif
from ..pipeline.pause import Paused, save_paused

if TYPE_CHECKING:
    from PIL.Image import Image


class Folder:
    """samples/00000.png ..., grid-0000.png ..., previews/00000-001.png ... and animations/00000.gif
    ...

    The pictures are numbered on from what is there. Nothing is made before there is something to
    save.
    """

    def __init__(self, path: Path, names: Sequence[str] = (), kind: str = "png") -> None:
        """names: what the first pictures are called, directly in `path`, instead of their numbers
        in samples/.

        kind: of the files of single pictures, see `save_image`.
        """
        self.path, self.names, self.kind = path, names, kind
        for place in (path, path / "samples"):
            there = next(
                folder for folder in (place, *place.absolute().parents) if os.path.lexists(folder)
            )
            if not there.is_dir():
                raise ValueError(f"--outdir {path} cannot be made: {there} is not a folder")
            if not os.access(there, os.W_OK | os.X_OK):
                raise ValueError(f"--outdir {path} cannot be written to")
        self.first = next_number(path / "samples", "")
        self.first_paused = next_number(path, "paused-")

    def sample(self, index: int) -> Path:
        """Where the index-th picture of this run goes."""
        name = (
            self.names[index] if index < len(self.names) else f"samples/{self.first + index:05}.png"
        )
        return (self.path / name).with_suffix(f".{self.kind}")

    def grid(self) -> Path:
        return self.path / f"grid-{next_number(self.path, 'grid-'):04}.png"

    def save(self, index: int, image: Image, text: Mapping[str, str]) -> Path:
        return self._save(self.sample(index), image, text)

    def save_grid(self, image: Image, text: Mapping[str, str]) -> Path:
        return self._save(self.grid(), image, text)

    def save_preview(self, index: int, step: int, image: Image) -> Path:
        """The index-th picture as it is after a step."""
        return self._save(self.path / f"previews/{self.first + index:05}-{step:03}.png", image, {})

    def save_animation(self, index: int, frames: Sequence[Image]) -> Path:
        path = self.path / f"animations/{self.first + index:05}.gif"
        path.parent.mkdir(parents=True, exist_ok=True)
        save_gif(path, frames)
        return path

    def save_paused(self, index: int, paused: Paused) -> Path:
        """The index-th of this run: paused-0000.safetensors ..."""
        path = self.path / f"paused-{self.first_paused + index:04}.safetensors"
        self.path.mkdir(parents=True, exist_ok=True)
        save_paused(path, paused)
        return path

    def _save(self, path: Path, image: Image, text: Mapping[str, str]) -> Path:
        (self.path / "samples").mkdir(parents=True, exist_ok=True)
        path.parent.mkdir(exist_ok=True)
        save_image(path, image, text)
        return path


def next_number(folder: Path, prefix: str) -> int:
    """The number of files in the folder, as CompVis counts; or more, where that would meet a number
    already used."""
    files = [path for path in folder.iterdir() if path.is_file()] if folder.is_dir() else []
    numbers = [path.stem.removeprefix(prefix) for path in files]
    return max([len(files), *(int(number) + 1 for number in numbers if number.isdecimal())])
