"""Files that are whole or not there."""

import os
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A name beside `path` for a file or a folder that takes its place once everything is written.

    Whoever reads `path`, also after a kill, finds all of the old or all of the new.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent) as folder:
        new, old = Path(folder) / "new", Path(folder) / "old"
        yield new
        if path.is_dir():
            os.replace(path, old)  # goes with the temporary folder
        os.replace(new, path)


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
