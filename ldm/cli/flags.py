"""The flags of the commands that draw: read off the fields of Request, and those that say nothing
about a single picture. Their parser takes them as people write them."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import Field, fields
from pathlib import Path
from typing import Any, NoReturn

from ..request import GROUPS, FromPicture, Request
from ..runtime.checks import kinds
from ..samplers import SAMPLERS, SCHEDULES
from .parsing import SPELLINGS, Help, hint, plainly, spelled
from .printing import one_line
from .values import KINDS, axis, family, seed

SAMPLES = {"txt2img": (2, 3), "img2img": (1, 2)}  # CompVis's n_iter and n_samples; others make one


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
    outdir = Path(f"outputs/{command}-samples")
    add = parser.add_argument_group("how many pictures").add_argument
    # fmt: off
    add("--from-file", type=Path, metavar="FILE",
        help="a prompt on each line, with flags of its own behind it")
    add("--vary", type=axis, action="append", default=[], metavar="F=A,B",
        help="a grid over values of a flag; up to 2")
    add("--n_iter", type=positive, metavar="N",
        help=f"how often to sample (default: {iterations}; with --vary 1)")
    add("--n_samples", type=positive, metavar="N",
        help=f"how many at once (default: {samples}; with --vary 1)")
    add("--fixed_code", action="store_true", help="use the same seeds each time")
    add("--plms", action="store_true", help="means --sampler plms")
    add("--dpm_solver", action="store_true", help="means --sampler dpm_solver")
    if command == "inpaint":
        add("--indir", type=Path, metavar="DIR",
            help="inpaint each x.png in it that has an x_mask.png, to outdir/x.png")
    add = parser.add_argument_group("what is written").add_argument
    add("--outdir", type=Path, default=outdir, metavar="DIR",
        help="where the pictures go (default: %(default)s)")
    add("--format", choices=KINDS, default="png",
        help="of single pictures; jpg loses a little (default: png)")
    add("--skip_save", action="store_true", help="do not save single pictures")
    add("--skip_grid", action="store_true", help="do not save a grid of all pictures")
    add("--n_rows", type=int, default=0, metavar="N",
        help="pictures in a row of the grid (default: as n_samples)")
    add("--preview_every", type=positive, metavar="K",
        help="save the emerging pictures after every K-th step")
    add("--animate", action="store_true", help="save how each picture emerges as a GIF")
    add("--preview", choices=("vae", "linear"), default="vae",
        help="how these are decoded; linear is fast (default: vae)")
    add("--dry_run", action="store_true", help="say what would be done, and do nothing")
    add("--pause_after", type=positive, metavar="K",
        help="stop after K steps, in a file that `ldm resume` goes on from")
    # fmt: on
    add_model_flags(parser)
    parser.set_defaults(iterations=iterations, samples=samples)
    if command != "inpaint":
        parser.set_defaults(indir=None)


def add_model_flags(parser: argparse.ArgumentParser) -> None:
    """Which model, and how it computes."""
    add = parser.add_argument_group("the model").add_argument
    # fmt: off
    add("--ckpt", type=Path, metavar="PATH",
        help="a checkpoint or a diffusers folder (default: the built-in model)")
    add("--family", type=family, metavar="NAME",
        help="what the checkpoint is, where it does not tell: a family, or a JSON file of one")
    add("--prediction", choices=("eps", "v"),
        help="what its U-Net predicts, where the checkpoint says nothing, or what is wrong")
    add("--ema", action=argparse.BooleanOptionalAction,
        help="use the averaged weights (default: if there are any)")
    add("--device", help="cpu, cuda, cuda:1 or mps (default: the best there is)")
    add("--dtype", choices=("float32", "float16", "bfloat16"),
        help="of the networks (default: what suits the device)")
    add("--precision", choices=("full", "autocast"), default="autocast",
        help="full means --dtype float32 (default: autocast)")
    add("--config", metavar="FILE", help="is not read: a checkpoint says itself what it is")
    add("--C", type=int, metavar="N", help="is checked: the channels of a latent")
    add("--f", type=int, metavar="N",
        help="is checked: how much smaller a latent is than a picture, often 8")
    add("--laion400m", action="store_true", help="is refused: that is another model")
    # fmt: on


def positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError(text)
    return number
