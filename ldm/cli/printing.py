"""What is printed: in any console, also of a stranger's file, and also where nobody reads it."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from io import TextIOWrapper
from typing import Any, TextIO, TypeVar

from ..runtime.text import escaped

T = TypeVar("T")
JOINERS = "\u200c\u200d"  # within words of some scripts, and within emoji
LONGEST = 500  # letters of an error or a warning


def prepare_streams() -> None:
    """Let letters that the console's encoding lacks be printed as \\u1234, instead of an error."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def say(text: object) -> None:
    unbroken(sys.stdout, print, text, flush=True)


def complain(text: object) -> None:
    """A line for stderr, where a bar may be: it is moved below the line."""
    if "tqdm" not in sys.modules:
        return unbroken(sys.stderr, print, text, file=sys.stderr, flush=True)
    from tqdm import tqdm

    unbroken(sys.stderr, tqdm.write, str(text), file=sys.stderr)


def unbroken(stream: TextIO, act: Callable[..., T], *given: Any, **options: Any) -> T:
    """What a function gives that prints to a stream. Where nobody reads that any more, as behind
    `| head -1`, it prints to nowhere, and the drawing goes on."""
    try:
        return act(*given, **options)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
        return act(*given, **options)


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
