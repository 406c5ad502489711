"""A file that is given to a flag of files of another kind: what it is, and which flag takes it."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .weights.errors import CheckpointError
from .weights.report import inspect


@contextmanager
def only_for(flag: str, path: str | Path) -> Iterator[None]:
    """Around the reading of a file that was given to a flag. Where that fails, and the file is what
    another flag takes, CheckpointError says so; else what the reading says."""
    try:
        yield
    except CheckpointError as error:
        if (told := other(flag, path)) is None:
            raise
        raise CheckpointError(f"{path} is {told}, not to {flag}") from error


def other(flag: str, path: str | Path) -> str | None:
    """What a file is, and what to do with it; None: it may be for this flag, or nobody knows."""
    try:
        found = inspect(path)
    except CheckpointError:
        return None
    if found.beside is not None:
        what, flags = found.beside.what, found.beside.flags
        return None if flag in flags else f"{what}: give it to {flags}"
    if found.kind.family is None or flag == "--vae":  # which takes that of a checkpoint
        return None
    return f"a checkpoint of {found.kind.family.name}: give it to --ckpt"
