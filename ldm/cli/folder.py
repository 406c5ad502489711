"""Where the pictures of a command go, in the layout of CompVis's scripts."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from ..images import save_png

if TYPE_CHECKING:
    from PIL.Image import Image


class Folder:
    """samples/00000.png ..., grid-0000.png ... and previews/00000-001.png ..., numbered on from what is there."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            (path / "samples").mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ValueError(f"--outdir {path} cannot be made: {error.strerror}") from None
        if not all(os.access(folder, os.W_OK | os.X_OK) for folder in (path, path / "samples")):
            raise ValueError(f"--outdir {path} cannot be written to")
        self.number = next_number(path / "samples", "")

    def save(self, image: Image, text: Mapping[str, str]) -> Path:
        self.number += 1
        return self._save(f"samples/{self.number - 1:05}.png", image, text)

    def save_grid(self, image: Image, text: Mapping[str, str]) -> Path:
        return self._save(f"grid-{next_number(self.path, 'grid-'):04}.png", image, text)

    def save_preview(self, image: Image, index: int, step: int) -> Path:
        """The picture that will be the index-th from now, as it is after a step."""
        (self.path / "previews").mkdir(exist_ok=True)
        return self._save(f"previews/{self.number + index:05}-{step:03}.png", image, {})

    def _save(self, name: str, image: Image, text: Mapping[str, str]) -> Path:
        save_png(self.path / name, image, text)
        return self.path / name


def next_number(folder: Path, prefix: str) -> int:
    """The number of files in the folder, as CompVis counts; or more, where that would meet a number already used."""
    files = [path for path in folder.iterdir() if path.is_file()]
    numbers = [path.stem.removeprefix(prefix) for path in files]
    return max([len(files), *(int(number) + 1 for number in numbers if number.isdecimal())])
