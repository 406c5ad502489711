"""The files that a request names.

A request that stands in a picture or in a paused drawing may come from anybody, and the files that
it names would be those of whoever draws it again: none of them is opened. Who wants them gives
them anew.
"""

from collections.abc import Collection
from dataclasses import fields
from pathlib import Path

from ..request import Request
from .image_metadata import shortened

NAMED = [field for field in fields(Request) if field.metadata["file"]]
# the fields that name files, folders or models, and the flags that give them
FILES = {field.name: field.metadata["flags"][0] for field in NAMED}
WORDS = {field.name: (None, *field.metadata["words"]) for field in NAMED}  # that name no file


def refuse_files(
    path: str | Path,
    request: Request,
    given: Collection[str],
    held: Collection[str] = (),
    otherwise: str = "",
) -> None:
    """ValueError if the request in a file names others that are neither given anew nor held.

    path        of the file that the request is from
    given       the fields that are given in place of what it says
    held        the fields whose files are not needed, since what is in them is there
    otherwise   what can be done instead of giving a picture
    """
    named = {name: getattr(request, name) for name in FILES if name not in {*given, *held}}
    lacking = {name: value for name, value in named.items() if value not in WORDS[name]}
    hints = [f"it names '{shortened(str(value))}': give {FILES[n]}" for n, value in lacking.items()]
    if otherwise and "image" in lacking and "mask" not in given:
        hints[0] += f", or {otherwise}"
    if hints:
        raise ValueError(
            f"{path} was made with files that are not opened unasked; {'; '.join(hints)}"
        )
