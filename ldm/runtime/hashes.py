"""The hashes by which people and sites call the file of a model.

    sha256   of the whole file; its first 10 digits are AUTOMATIC1111's model hash since 2023, and
             Civitai's AutoV2
    legacy   the web UI's before: the first 8 digits of that of 64 KiB, 1 MiB into the file
    autov3   the first 12 digits of that of a safetensors file without its header, so that changed
             metadata do not change it

The first takes seconds for some gigabytes, and is kept with the file's time and size in a small
file of the user's cache folder.
"""

import hashlib
import json
import os
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from typing import Any

from .files import replacing

PIECE = 2**20  # bytes


def sha256(path: Path, skip: int = 0) -> str:
    """Of a file's bytes after the first `skip`, 64 digits."""
    found = hashlib.sha256()
    with path.open("rb") as file:
        file.seek(skip)
        while piece := file.read(PIECE):
            found.update(piece)
    return found.hexdigest()


def legacy(path: Path) -> str:
    with path.open("rb") as file:
        file.seek(0x100000)
        return hashlib.sha256(file.read(0x10000)).hexdigest()[:8]


def autov3(path: Path) -> str:
    """Of a safetensors file."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
    return sha256(path, 8 + length)[:12]


def cache_file() -> Path:
    root = os.environ.get("XDG_CACHE_HOME") or os.environ.get("LOCALAPPDATA")
    return Path(root or Path.home() / ".cache") / "ldm" / "hashes.json"


def cached() -> dict[str, Any]:
    """Path -> time, size, hash. Whatever is wrong with the file: nothing."""
    try:
        found = json.loads(cache_file().read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError, RuntimeError):
        return {}
    return found if isinstance(found, dict) else {}


def state_of(path: Path) -> list[int]:
    now = path.stat()
    return [now.st_mtime_ns, now.st_size]


def known(path: Path) -> str | None:
    """The sha256 of a file that was computed before, if the file has not changed since."""
    try:
        *state, found = cached().get(str(path.resolve()), [None])
        return found if isinstance(found, str) and state == state_of(path) else None
    except (OSError, TypeError, ValueError):
        return None


def computed(path: Path) -> str:
    """The sha256 of a file, computed only if it is not known; then kept, if the cache folder can be
    written."""
    if (found := known(path)) is not None:
        return found
    state, found = state_of(path), sha256(path)
    try:
        with replacing(cache_file()) as temporary:
            kept = cached() | {str(path.resolve()): [*state, found]}
            temporary.write_text(json.dumps(kept, indent=1), encoding="utf-8")
    except (OSError, RuntimeError):  # a read-only home, or none
        pass
    return found


@dataclass
class HashedFile:
    """A file and its hash.

    computing   its sha256, where it is computed in a thread
    """

    path: Path
    computing: Future[str] | None = None

    def begin(self) -> None:
        """Compute the sha256 while something else is done: hashlib lets other threads run. Nobody
        waits for it at the end of the program."""
        if self.computing is None and self.path.is_file():
            self.computing = Future()
            Thread(target=self.compute, args=(self.computing,), daemon=True).start()

    def compute(self, result: Future[str]) -> None:
        try:
            result.set_result(computed(self.path))
        except Exception as error:
            result.set_exception(error)

    def digits(self) -> str | None:
        """The first 10 digits of its sha256; None: it is a folder, or nobody has computed it."""
        try:
            found = known(self.path) if self.computing is None else self.computing.result()
        except OSError:
            return None
        return None if found is None else found[:10]
