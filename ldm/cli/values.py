"""The values of flags that take more than a word to read: --family, --vary, --seed -1."""

import argparse
import csv
import os
import secrets
from dataclasses import fields
from typing import Any, NamedTuple

from ..models.families import family_named
from ..request import Request
from ..runtime.checks import kinds, known


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
    Axis(field='scale', values=(5.0, 7.5))
    >>> axis('prompt="a red star, shaded",a heart').values
    ('a red star, shaded', 'a heart')
    """
    names = {
        flag.lstrip("-"): f.name for f in fields(Request) for flag in (f.name, *f.metadata["flags"])
    }
    names = {
        name: field
        for name, field in names.items()
        if kinds(Request)[field] not in (bool, tuple) and field != "count"
    }
    name, _, values = text.partition("=")
    try:
        known(name, names, "field to vary")
        kind = kinds(Request)[names[name]]
        found = tuple(
            kind(value) for value in next(csv.reader([values], skipinitialspace=True), [])
        )
    except (ValueError, csv.Error) as error:
        raise argparse.ArgumentTypeError(f"{text!r}: {error}") from None
    if not found:
        raise argparse.ArgumentTypeError(f"{text!r} has no values: write {name}=A,B,...")
    if names[name] == "seed":
        found = tuple(random_seed() if value == -1 else value for value in found)
    return Axis(names[name], found)


def random_seed() -> int:
    """The seed for -1: one below 2^32, as the web UIs draw it."""
    if os.environ.get("WORLD_SIZE", "1") != "1":
        raise argparse.ArgumentTypeError("-1 is another seed in each process: give a number")
    return secrets.randbelow(2**32)
