"""Where the pictures of a command go, in the layout of CompVis's scripts."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from itertools import chain, count
from pathlib import Path
from typing import TYPE_CHECKING

from ..images.saving import write_image

if TYPE_CHECKING:
    from PIL.Image import Image

PLACES = ("samples", "previews", "animations")  # where files have a picture's number


class Folder:
    """samples/00000.png ..., grid-0000.png ..., previews/00000-001.png ... and animations/00000.gif
    ...

    The pictures are numbered on from what is there. Nothing is made before there is something to
    save, and nothing is replaced: a number is taken when the first file with it is saved, which is
    a later one than expected where another process saves into the same folder.
    """

    def __init__(self, path: Path, names: Sequence[str] = (), kind: str = "png") -> None:
        """names: what the first pictures are called, directly in `path`, instead of their numbers
        in samples/.

        kind: of the files of single pictures, see `write_image`.
        """
        self.path, self.names, self.kind = path, names, kind
        check_writable(path)
        for file in (self.sample(i) for i in range(len(names))):
            if os.path.lexists(file):
                raise ValueError(f"{file} is there, and is not replaced: give another --outdir")
        more = (numbers(path / place) for place in PLACES)
        self.first = max([next_number(path / "samples", ""), *(n + 1 for ns in more for n in ns)])
        self.taken: dict[int, int] = {}  # the number of the index-th picture, once it is fixed

    def sample(self, index: int) -> Path:
        """Where the index-th picture of this run goes."""
        own = index < len(self.names)
        name = self.names[index] if own else f"samples/{self.number(index):05}.png"
        return (self.path / name).with_suffix(f".{self.kind}")

    def number(self, index: int) -> int:
        """The number fixed for a picture, or else the one expected: as far behind that of the
        nearest picture before it as it comes after."""
        before = max((i for i in self.taken if i <= index), default=None)
        return self.first + index if before is None else self.taken[before] + index - before

    def save(self, index: int, image: Image, text: Mapping[str, str]) -> Path:
        write = partial(write_image, image=image, text=text)
        if index >= len(self.names):
            return self.save_numbered(index, f"samples/{{:05}}.{self.kind}", write)
        path = self.sample(index)  # another process may have taken it since this one began
        more = (path.with_stem(f"{path.stem}-{i}") for i in count(1))
        return save_new(chain([path], more), write)

    def save_grid(self, image: Image, text: Mapping[str, str]) -> Path:
        (self.path / "samples").mkdir(parents=True, exist_ok=True)  # as CompVis lays it out
        write = partial(write_image, image=image, text=text)
        return self.save_next("grid-", ".png", write)

    def save_next(self, prefix: str, suffix: str, write: Callable[[Path], object]) -> Path:
        first = next_number(self.path, prefix)
        return save_new((self.path / f"{prefix}{n:04}{suffix}" for n in count(first)), write)

    def save_numbered(self, index: int, name: str, write: Callable[[Path], object]) -> Path:
        """Under the picture's number; if that is not fixed yet, the next that has no files."""
        (self.path / "samples").mkdir(parents=True, exist_ok=True)
        first = self.number(index)
        if index not in self.taken:
            used = {n for place in PLACES for n in numbers(self.path / place)}
            first = next(n for n in count(first) if n not in used)
        path = save_new((self.path / name.format(n) for n in count(first)), write)
        self.taken[index] = int(path.stem.partition("-")[0])
        return path


def check_writable(path: Path) -> None:
    """ValueError, if the folder or the one for samples is not there and cannot be made, or if
    nothing can be written to it. Nothing stays of the attempt."""
    for place in (path.absolute(), path.absolute() / "samples"):
        there = next(folder for folder in (place, *place.parents) if os.path.lexists(folder))
        try:
            with tempfile.TemporaryDirectory(prefix=".new.", dir=there) as new:
                (Path(new) / place.relative_to(there)).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            why = str(error.strerror) if there.is_dir() else f"{there} is not a folder"
            raise ValueError(f"cannot write to --outdir {path}: {why}; give another") from None


def next_number(folder: Path, prefix: str) -> int:
    """The number of files in the folder, as CompVis counts; or more, where that would meet a number
    already used."""
    files = sum(path.is_file() for path in folder.iterdir()) if folder.is_dir() else 0
    return max([files, *(number + 1 for number in numbers(folder, prefix))])


def numbers(folder: Path, prefix: str = "") -> list[int]:
    """Those in the names of files: 3 of 00003.png and of 00003-010.png."""
    files = folder.iterdir() if folder.is_dir() else ()
    starts = (path.stem.removeprefix(prefix).partition("-")[0] for path in files if path.is_file())
    return [int(start) for start in starts if start.isdecimal()]


def save_new(names: Iterable[Path], write: Callable[[Path], object]) -> Path:
    """Write a file under the first of the names, all of one folder, that no file has. -> that name

    The name is taken when everything is written, and at once: of several processes that save into
    one folder each gets names of its own, and nothing is ever replaced.
    """
    names = iter(names)
    path = next(names)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".new.", dir=path.parent) as folder:
        new = Path(folder) / path.name
        write(new)
        while not taken(new, path):
            path = next(names)
    return path


def taken(new: Path, path: Path) -> bool:
    """Give a file that name, if no other has it."""
    try:
        os.link(new, path)
    except FileExistsError:
        return False
    except OSError:  # a file system without links
        try:
            path.open("x").close()
        except FileExistsError:
            return False
        os.replace(new, path)
    return True
