"""What is wrong with a file, in words."""

from pathlib import Path

from ...runtime.text import one_line


class CheckpointError(ValueError):
    """A file or folder that cannot be loaded: what it is, what it should be, and what to do about
    it, in one printable line, see `one_line`."""

    def __init__(self, message: str) -> None:
        super().__init__(one_line(message))


def cut_short(path: Path, here: int, whole: int) -> CheckpointError:
    """The error of a file that ends too early. Sizes in bytes."""
    sizes = f"{gigabytes(here)} of {gigabytes(whole)} are here"
    if gigabytes(here) == gigabytes(whole):
        sizes = f"{whole - here} bytes of {gigabytes(whole)} are missing"
    return CheckpointError(f"{path} is cut short: {sizes}; download it again")


def gigabytes(size: int) -> str:
    """
    >>> gigabytes(4_265_380_512), gigabytes(1_200), gigabytes(7)
    ('4.27 GB', '1.2 kB', '7 bytes')
    """
    for unit, name in ((10**9, "GB"), (10**6, "MB"), (10**3, "kB")):
        if size >= unit:
            return f"{size / unit:.3g} {name}"
    return f"{size} bytes"
