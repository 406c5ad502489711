"""The values of flags: how they are read, and what is said of those that cannot be."""

import argparse
import csv
import os
from collections.abc import Callable
from dataclasses import fields
from typing import Any, NamedTuple

from ..models.families import family_named
from ..pipeline import asking
from ..request import Request
from ..runtime.checks import kinds, known
from ..runtime.options import names_of
from ..runtime.text import one_line

KINDS = ("png", "webp", "jpg")  # of files of pictures
BOUNDS = {f.name: f.metadata["bounds"] for f in fields(Request)}


def no_number(text: str, kind: str, name: str) -> str:
    """What is said of a text that is not the number that a flag takes. text: as Python writes it;
    kind: the name of what reads it, int, float, seed or positive; name: of the field of Request, or
    of the option."""
    what = "number" if kind == "float" else "whole number"
    low, high = BOUNDS.get(name) or (None, None)
    allowed = "" if low is None else f" from {low} to {high}"
    allowed += {"positive": " of at least 1", "seed": ", or -1 for a random one"}.get(kind, "")
    return f"must be a {what}{allowed}, not {one_line(text, 100)}"


def seed(text: str) -> int:
    if (number := int(text)) == -1:
        return random_seed()
    if number < 0:
        raise ValueError(text)
    return number


def family(text: str) -> Any:
    try:
        return family_named(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


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
    Axis(field='guidance_scale', values=(5.0, 7.5))
    >>> axis('prompt="a red star, shaded",a heart').values
    ('a red star, shaded', 'a heart')
    """
    names = {
        name: field
        for name, field in names_of(Request).items()
        if kinds(Request)[field] not in (bool, tuple) and field != "count"
    }
    name, _, values = text.partition("=")
    name = name.replace("-", "_")
    try:
        known(name, names, "field to vary")
        read = axis_reader(names[name])
        found = tuple(map(read, next(csv.reader([values], skipinitialspace=True), [])))
    except (argparse.ArgumentTypeError, ValueError, csv.Error) as error:
        raise argparse.ArgumentTypeError(f"{text!r}: {error}") from None
    if not found:
        raise argparse.ArgumentTypeError(f"{text!r} has no values: write {name}=A,B,...")
    return Axis(names[name], found)


def axis_reader(name: str) -> Callable[[str], Any]:
    """What makes a value of a text, for a field of Request, which checks its bounds."""
    kind: Any = seed if name == "seed" else kinds(Request)[name]

    def read(text: str) -> Any:
        try:
            return kind(text)
        except ValueError:
            raise argparse.ArgumentTypeError(no_number(repr(text), kind.__name__, name)) from None

    return read


def random_seed() -> int:
    """The seed for -1: one below 2^32, as the web UIs draw it."""
    if os.environ.get("WORLD_SIZE", "1") != "1":
        raise argparse.ArgumentTypeError("-1 is another seed in each process: give a number")
    return asking.random_seed()
