"""The command line.

    ldm txt2img --prompt "..."
    ldm img2img --prompt "..." --init-img in.png
    ldm inspect model.safetensors

The first two take every flag of CompVis's scripts of these names, with its meaning and its default, and lay out their
folder alike.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

import torch

from ..finite import NotFinite
from ..samplers import SAMPLERS, SCHEDULES
from ..weights import inspect
from .drawing import draw
from .flags import add_flags, add_request_flags, requested


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: error: {message}\n")


def parser() -> Parser:
    parser = Parser("ldm", description="Latent diffusion: pictures from text.")
    names = f"Samplers: {', '.join(SAMPLERS)}. Schedules: automatic, {', '.join(SCHEDULES)}."
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, about in (("txt2img", "pictures of a prompt"), ("img2img", "pictures of a prompt, from a picture")):
        command = commands.add_parser(name, help=about, description=about, epilog=names)
        add_request_flags(command, from_image=name == "img2img")
        add_flags(command, name)
        command.set_defaults(run=lambda options: draw(options, requested(options)))
    command = commands.add_parser("inspect", help="what a checkpoint is, without loading it")
    command.add_argument("file", type=Path)
    command.set_defaults(run=lambda options: print(inspect(options.file)))
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; None: the one this program was started with.

    0: done. 1: no picture could be made. 2: something is wrong with what was asked for. Either is said in one line.
    """
    options = parser().parse_args(arguments)
    try:
        options.run(options)
        return 0
    except (NotFinite, torch.cuda.OutOfMemoryError) as error:
        code, message = 1, str(error).split("\n")[0]
    except (ValueError, OSError) as error:
        code, message = 2, str(error)
    except KeyboardInterrupt:
        code, message = 130, "interrupted"
    print(f"ldm {options.command}: error: {message}", file=sys.stderr)
    return code
