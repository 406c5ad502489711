"""merge, convert and prune: checkpoints made of checkpoints."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from ..models.tools import convert, merge
from ..models.tools.methods import METHODS
from ..models.tools.planning import DTYPES
from .flags import Parser
from .output import say
from .values import family

LAYOUTS = ("ldm", "compvis", "diffusers")


def add_written(parser: Parser) -> None:
    """What is written, and where."""
    # fmt: off
    parser.add_argument("--out", type=Path, required=True, metavar="PATH",
        help="a .safetensors file, or a folder for diffusers")
    parser.add_argument("--dtype", choices=DTYPES, help="of the weights (default: as they are)")
    parser.add_argument("--layout", choices=LAYOUTS,
        help="whose names and files (default: as it is; a folder where --out has no ending)")
    parser.add_argument("--family", type=family, metavar="NAME",
        help="what it is, where the file does not tell: a family, or a JSON file of one")
    parser.add_argument("--prediction", choices=("eps", "v"), help="what its U-Net predicts")
    # fmt: on


def add_merge(parser: Parser) -> None:
    every = ", ".join(f"{name} ({one.label})" for name, one in METHODS.items())
    alphas = ", ".join(f"{name} {one.alpha:g}" for name, one in METHODS.items())
    # fmt: off
    parser.add_argument("files", type=Path, nargs="+", metavar="MODEL",
        help="A and B; for add_difference, ties and dare C, too, which both were trained from")
    parser.add_argument("--method", default="weighted", metavar="NAME",
        help=f"{every} (default: %(default)s)")
    parser.add_argument("--alpha", type=float, metavar="X",
        help=f"how much of B, or of the change (default: {alphas})")
    parser.add_argument("--blocks", metavar="WEIGHTS",
        help="other alphas for blocks of the U-Net: IN00-IN03=0.2,M00=1, or one for each")
    parser.add_argument("--density", type=float, metavar="X",
        help="what part of a change is kept (default: ties 0.2, dare 0.5)")
    parser.add_argument("--seed", type=int, default=0, metavar="N",
        help="of what dare drops (default: 0)")
    # fmt: on
    add_written(parser)


def add_convert(parser: Parser) -> None:
    add_prune(parser)
    told = "the weights, and the averages beside them (--layout compvis)"
    parser.add_argument("--keep_ema", action="store_true", help=told)


def add_prune(parser: Parser) -> None:
    parser.add_argument("file", type=Path, metavar="MODEL")
    told = "the averages in place of the weights (default: if there are any)"
    parser.add_argument("--ema", action=argparse.BooleanOptionalAction, help=told)
    add_written(parser)


def merged(options: argparse.Namespace) -> None:
    asked = {name: getattr(options, name) for name in ("method", "alpha", "blocks", "density")}
    merge(options.files, options.out, **asked, seed=options.seed, **shared(options))
    say(options.out)


def converted(options: argparse.Namespace) -> None:
    keep = getattr(options, "keep_ema", False)
    convert(options.file, options.out, ema=options.ema, keep_ema=keep, **shared(options))
    say(options.out)


def shared(options: argparse.Namespace) -> dict[str, Any]:
    return {
        "layout": options.layout,
        "dtype": None if options.dtype is None else DTYPES[options.dtype],
        "family": options.family,
        "prediction": options.prediction,
    }
