"""What is printed of errors, and of files that come from anybody."""

from __future__ import annotations

import sys

from ..runtime.text import escaped
from .output import unbroken

JOINERS = "\u200c\u200d"  # within words of some scripts, and within emoji
LONGEST = 500  # letters of an error or a warning


def complain(text: object) -> None:
    """A line for stderr, where a bar may be: it is moved below the line."""
    if "tqdm" not in sys.modules:
        return unbroken(sys.stderr, print, text, file=sys.stderr, flush=True)
    from tqdm import tqdm

    unbroken(sys.stderr, tqdm.write, str(text), file=sys.stderr)


def printable(text: str) -> str:
    r"""The text without what a terminal would obey; its lines stay.

    >>> printable("a\x1b[2J cat\non a mat")
    'a\\x1b[2J cat\non a mat'
    """
    return escaped(text, keep="\n" + JOINERS)


def one_line(text: str) -> str:
    """An error as a line of at most LONGEST letters."""
    line = printable(" ".join(part.strip() for part in text[: 20 * LONGEST].splitlines()))
    return line if len(line) <= LONGEST else f"{line[: LONGEST - 4]} ..."
