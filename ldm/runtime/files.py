"""Files that are whole or not there."""

import os
import tempfile
from collections.abc import Iterator
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
