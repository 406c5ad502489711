"""The command line.

    ldm txt2img --prompt "..."
    ldm img2img --prompt "..." --init-img in.png
    ldm inpaint --prompt "..." --image in.png --mask mask.png
    ldm outpaint --prompt "..." --image in.png --left 64
    ldm upscale --prompt "..." --image in.png --enlarge 4
    ldm resume outputs/txt2img-samples/paused-0000.safetensors
    ldm show picture.png
    ldm replay picture.png
    ldm watermark picture.png
    ldm inspect model.safetensors

The first two take every flag of CompVis's scripts of these names, with its meaning and its default, and lay out their
folder alike.
"""

import argparse
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

from ..finite import NotFinite
from ..samplers import SAMPLERS, SCHEDULES
from ..weights import inspect
from .drawing import draw, resume
from .flags import add_flags, add_model_flags, add_request_flags, positive, requested
from .replaying import replay
from .showing import marks, show

COMMANDS = {
    "txt2img": "pictures of a prompt",
    "img2img": "pictures of a prompt, from a picture",
    "inpaint": "a picture repainted where a mask is white",
    "outpaint": "a picture continued at its sides",
    "upscale": "a picture drawn larger, in tiles",
}


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: error: {message}\n")


def parser() -> Parser:
    parser = Parser("ldm", description="Latent diffusion: pictures from text.")
    names = f"Samplers: {', '.join(SAMPLERS)}. Schedules: automatic, {', '.join(SCHEDULES)}."
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, about in COMMANDS.items():
        command = commands.add_parser(name, help=about, description=about, epilog=names)
        add_request_flags(command, from_image=name != "txt2img")
        add_flags(command, name)
        command.set_defaults(run=lambda options: draw(options, requested(options)))
    for name, about, run in (
        ("resume", "go on with what --pause_after left", resume),
        ("replay", "make pictures again from what their files say: ours, A1111's or ComfyUI's", replay),
    ):
        command = on_files(commands.add_parser(name, help=about, description=about), run)
        outdir = Path(f"outputs/{name}d")
        command.add_argument("--outdir", type=Path, default=outdir, help="where the pictures go (%(default)s)")
        add_model_flags(command)
    add_request_flags(command, from_image=True)  # replay can make something else of them
    command.set_defaults(preview_every=None, animate=False)
    on_files(commands.add_parser("show", help="what the files of pictures say of their making"), show)
    command = on_files(commands.add_parser("watermark", help="which invisible watermark pictures have"), marks)
    command.add_argument("--length", type=positive, metavar="N", help="read any text of N letters instead")
    command = commands.add_parser("inspect", help="what a checkpoint is, without loading it")
    command.add_argument("file", type=Path)
    command.set_defaults(run=lambda options: print(inspect(options.file)))
    return parser


def on_files(command: Parser, run: Callable[[argparse.Namespace], None]) -> Parser:
    """The command, which is to run on one or several files."""
    command.add_argument("files", type=Path, nargs="+", metavar="FILE")
    command.set_defaults(run=run)
    return command


def short_of_memory(error: Exception) -> bool:
    """Only CUDA has an error of its own for that; a CPU and MPS say it in words."""
    words = ("out of memory", "can't allocate memory", "not enough memory")
    return isinstance(error, MemoryError) or any(part in str(error) for part in words)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; None: the one this program was started with.

    0: done. 1: no picture could be made. 2: something is wrong with what was asked for. Either is said in one line.
    """
    options = parser().parse_args(arguments)
    try:
        with warnings.catch_warnings():
            warnings.showwarning = lambda message, *_: print(
                f"ldm {options.command}: warning: {message}", file=sys.stderr
            )
            options.run(options)
        return 0
    except NotFinite as error:
        code, message = 1, str(error)
    except (MemoryError, RuntimeError) as error:
        if not short_of_memory(error):
            raise
        what = str(error).split("\n")[0] or type(error).__name__
        code, message = 1, f"memory does not suffice: give smaller --W and --H, or --tile ({what})"
    except (ValueError, OSError) as error:
        code, message = 2, str(error)
    except KeyboardInterrupt:
        code, message = 130, "interrupted"
    print(f"ldm {options.command}: error: {message}", file=sys.stderr)
    return code
