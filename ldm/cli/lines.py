"""Where many pictures come from: the lines of a file, or the pictures of a folder."""

import re
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from ..pipeline.passes import check
from ..request import Request
from .choices import COUNT, MODEL, WRITTEN
from .flags import Parser, add_request_flags
from .parsing import plainly


class LineParser(Parser):
    """Parses the flags of a line, and raises what is wrong with them."""

    def error(self, message: str) -> NoReturn:
        raise ValueError(plainly(message, self))

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        of_all = [w for w in args or () if w.partition("=")[0] in (COUNT | WRITTEN | MODEL)]
        if of_all:
            self.error(f"{of_all[0]} holds for all lines: give it beside --from-file")
        return super().parse_known_args(args, namespace)


FLAG = re.compile(r"(?:^|\s)--[A-Za-z]")


def read_line(line: str, parser: LineParser) -> dict[str, Any]:
    """The fields that a line of --from-file asks for: a prompt, as it stands, and then flags,
    quoted as in a shell.

    The flags begin with the first word that begins with two hyphens and a letter.
    """
    flag = FLAG.search(line)
    if flag is None:
        return {"prompt": line}
    prompt, flags = line[: flag.start()].strip(), line[flag.start() :]
    return ({"prompt": prompt} if prompt else {}) | vars(parser.parse_args(shlex.split(flags)))


def read_lines(path: Path, from_image: bool) -> list[dict[str, Any]]:
    """The fields that each line of a file asks for; blank lines ask for nothing. from_image: see
    `add_request_flags`."""
    parser = LineParser(add_help=False, allow_abbrev=False)
    add_request_flags(parser, from_image)
    try:
        lines = path.read_bytes().decode("utf-8-sig").split("\n")
    except OSError as error:
        raise ValueError(f"--from-file {path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ValueError(f"--from-file {path} is not UTF-8 text: save it as such") from None
    if not any(line.strip() for line in lines):
        raise ValueError(f"--from-file {path} is empty: write a prompt on each line")
    found = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            found.append(read_line(line.removesuffix("\r"), parser))
            check(Request(**found[-1]))
        except ValueError as error:
            raise ValueError(f"--from-file {path}, line {number}: {error}") from None
    return found


def masked_pictures(folder: Path) -> list[dict[str, Any]]:
    """The pictures in a folder that have a mask beside them, as CompVis's inpaint.py finds them."""
    masks = sorted(folder.glob("*_mask.png"))
    if not masks:
        raise ValueError(
            f"--indir {folder} has no pictures with masks: put x.png and x_mask.png there"
        )
    return [
        {"image": str(mask).removesuffix("_mask.png") + ".png", "mask": str(mask)} for mask in masks
    ]


def names_in(requests: Sequence[Request]) -> Sequence[str]:
    """What the files of a folder's pictures are called, where each is drawn anew: as they are."""
    found = [Path(str(request.image)).name for request in requests]
    return found if len(set(found)) == len(found) else ()
