"""Which pictures the flags ask for: one request each, in the order in which they are numbered."""

import argparse
import csv
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from ..plan import check
from ..request import Request, kinds, known, plain


class Axis(NamedTuple):
    """One direction of a grid: a field of Request and its values."""

    field: str
    values: tuple[Any, ...]

    @property
    def labels(self) -> list[str]:
        return [f"{self.field} {value}" for value in self.values]


def axis(text: str) -> Axis:
    """
    >>> axis("scale=5,7.5")
    Axis(field='scale', values=(5.0, 7.5))
    >>> axis('prompt="a red star, shaded",a heart').values
    ('a red star, shaded', 'a heart')
    """
    names = {flag.lstrip("-"): f.name for f in fields(Request) for flag in (f.name, *f.metadata["flags"])}
    names = {name: field for name, field in names.items() if kinds()[field] is not bool and field != "count"}
    name, _, values = text.partition("=")
    try:
        known(name, names, "field to vary")
        kind = kinds()[names[name]]
        found = tuple(kind(value) for value in next(csv.reader([values], skipinitialspace=True), []))
    except (ValueError, csv.Error) as error:
        raise argparse.ArgumentTypeError(f"{text!r}: {error}") from None
    if not found:
        raise argparse.ArgumentTypeError(f"{text!r} has no values: write {name}=A,B,...")
    return Axis(names[name], found)


def pictures(
    base: Mapping[str, Any],
    lines: Sequence[Mapping[str, Any]],
    iterations: int,
    fixed: int | None = None,
    axes: Sequence[Axis] = (),
) -> list[Request]:
    """A picture for each of the lines, `iterations` times over; and all that for each point of the axes.

    base   fields of Request that all share;  lines  what each of them adds or changes
    fixed  None: each picture takes the next seed. A number: the first takes the first seed again after so many lines,
           and in each iteration.
    axes   the first one is walked fastest
    """
    made = []
    for point in product(*([(axis.field, value) for value in axis.values] for axis in reversed(axes))):
        shared = {"seed": Request.seed} | dict(base) | dict(point)
        for i, (j, line) in product(range(iterations), enumerate(lines)):
            place = i * len(lines) + j if fixed is None else j % fixed
            again = i if fixed is None else 0
            seed = line["seed"] + again if "seed" in line else shared["seed"] + place
            made.append(Request(**(shared | dict(line) | {"seed": seed})))
    return made


def batches(pictures: Sequence[Request], size: int) -> list[Request]:
    """The inverse of `Request.split`: neighbours as one request of at most `size` pictures, where one can say it.

    That is where they differ in nothing but the prompts, and their seeds follow one another.
    """
    made: list[Request] = []
    for picture in pictures:
        last = made[-1] if made else picture
        alike = replace(last, prompt=picture.prompt, negative=picture.negative, seed=picture.seed, count=1)
        follows = picture == alike and picture.seed == last.seed + last.total
        if made and follows and last.total < size:
            negatives = plain(last.negatives + picture.negatives)
            made[-1] = replace(last, prompt=last.prompts + picture.prompts, negative=negatives)
        else:
            made.append(picture)
    return made


class LineParser(argparse.ArgumentParser):
    """Parses the flags of a line, and raises what is wrong with them."""

    def error(self, message: str) -> NoReturn:
        raise ValueError(message)


FLAG = re.compile(r"(?:^|\s)--[A-Za-z]")


def read_line(line: str, parser: LineParser) -> dict[str, Any]:
    """The fields that a line of --from-file asks for: a prompt, as it stands, and then flags, quoted as in a shell.

    The flags begin with the first word that begins with two hyphens and a letter.
    """
    flag = FLAG.search(line)
    if flag is None:
        return {"prompt": line}
    prompt, flags = line[: flag.start()].strip(), line[flag.start() :]
    return ({"prompt": prompt} if prompt else {}) | vars(parser.parse_args(shlex.split(flags)))


def read_lines(path: Path, parser: LineParser) -> list[dict[str, Any]]:
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except OSError as error:
        raise ValueError(f"--from-file {path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ValueError(f"--from-file {path} is not UTF-8 text: save it as such") from None
    if not lines:
        raise ValueError(f"--from-file {path} is empty: write a prompt on each line")
    found = []
    for number, line in enumerate(lines, 1):
        try:
            found.append(read_line(line, parser))
            check(Request(**found[-1]))
        except ValueError as error:
            raise ValueError(f"--from-file {path}, line {number}: {error}") from None
    return found
