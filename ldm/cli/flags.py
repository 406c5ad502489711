"""The flags of the commands that draw: read off the fields of Request, and those of `choices`.
Their parser takes them as people write them."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import Field, fields
from pathlib import Path
from typing import Any, NoReturn

from ..request import GROUPS, FromPicture, Request
from ..runtime.checks import kinds
from ..samplers import SAMPLERS, SCHEDULES
from .choices import COUNT, INDIR, MODEL, SAMPLES, WRITTEN, Flags
from .parsing import SPELLINGS, Help, hint, plainly, spelled
from .printing import one_line
from .values import seed


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one line.

    fill: adds the arguments once they are needed, for of all commands a command line has only one.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.formatter_class = Help
        self.fill: Callable[[Parser], None] | None = None

    def filled(self) -> Parser:
        if self.fill is not None:
            self.fill(self)
            self.fill = None
        return self

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: error: {one_line(plainly(message, self))}\n")

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        flags = self.filled()._option_string_actions
        odd = {w for w in args or () if w[:1] == "-" or w.lower() in SPELLINGS} - flags.keys()
        if self._subparsers is None and odd:
            args = spelled(args, flags)
        found, unknown = super().parse_known_args(args, namespace)
        if unknown and (told := hint(unknown, self._actions)):
            self.error(told)
        return found, unknown


def add_request_flags(parser: argparse.ArgumentParser, from_image: bool) -> None:
    """A flag for each field of Request. One that is not given leaves no trace in the options."""
    for fields_of in GROUPS:
        if from_image or fields_of is not FromPicture:
            group = parser.add_argument_group(fields_of.__doc__)
            for f in fields(fields_of):
                if flags := f.metadata["flags"]:
                    given = argument(f)
                    group.add_argument(*flags, dest=f.name, default=argparse.SUPPRESS, **given)


def argument(f: Field[Any]) -> dict[str, Any]:
    """What argparse is to know of a field: its type and choices, and its help with bounds and
    default."""
    kind, bounds, choices = kinds(Request)[f.name], f.metadata["bounds"], f.metadata["choices"]
    if kind is bool:
        return {"action": "store_true", "help": f.metadata["help"]}
    default = f.metadata["left_open"] if f.default is None else str(f.default) or "empty"
    span = f"{bounds[0]:g} to {bounds[1]:g}; " if bounds is not None and bounds[1] < 2**20 else ""
    random = "-1: a random one; " if f.name == "seed" else ""  # on the command line only
    names = {"sampler": [*SAMPLERS], "schedule": ["automatic", *SCHEDULES]}.get(f.name)
    there = f": {', '.join(names)}" if names is not None else ""
    told = f"{f.metadata['help']}{there} ({random}{span}default: {default})".replace("%", "%%")
    if kind is tuple:
        kind = int if f.metadata["whole"] else float
        return {"type": kind, "nargs": 2, "metavar": f.metadata["metavar"], "help": told}
    metavars = {int: "N", float: "X", str: "TEXT"}
    reader = seed if f.name == "seed" else kind
    metavar = "PATH" if f.metadata["file"] else metavars[kind]
    value: dict[str, Any] = {"type": reader, "help": told, "metavar": metavar}
    if choices is not None:
        value["metavar"] = "{" + ",".join(choices) + "}"
    if f.metadata["several"] and f.default is None:
        value["action"] = "append"
    if f.metadata["bare"] is not None:
        value |= {"nargs": "?", "const": f.metadata["bare"]}
    return value


def add_flags(parser: argparse.ArgumentParser, command: str) -> None:
    """All flags of a command that draws: what a picture is, how many there are, what to do with
    them, and which model draws them."""
    add_request_flags(parser, from_image=command != "txt2img")
    iterations, samples = SAMPLES.get(command, (1, 1))
    counts = {"iterations": iterations, "samples": samples}
    add_group(parser, "how many pictures", COUNT | (INDIR if command == "inpaint" else {}), counts)
    add_group(parser, "what is written", WRITTEN)
    add_model_flags(parser)
    outdir = Path(f"outputs/{command}-samples")
    parser.set_defaults(**{"indir": None, "outdir": outdir} | counts)


def add_model_flags(parser: argparse.ArgumentParser) -> None:
    """Which model, and how it computes."""
    add_group(parser, "the model", MODEL)


def add_group(
    parser: argparse.ArgumentParser, title: str, flags: Flags, counts: dict[str, int] | None = None
) -> None:
    group = parser.add_argument_group(title)
    for flag, told in flags.items():
        text = told["help"].format(**counts) if counts else told["help"]
        group.add_argument(flag, **told | {"help": text})
