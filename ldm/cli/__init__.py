"""The command line.

    ldm txt2img --prompt "..."
    ldm img2img --prompt "..." --init-img in.png
    ldm inpaint --prompt "..." --image in.png --mask mask.png
    ldm outpaint --prompt "..." --image in.png --left 64
    ldm upscale --prompt "..." --image in.png --upscale 4
    ldm resume outputs/txt2img-samples/paused-0000.safetensors
    ldm show picture.png
    ldm replay picture.png
    ldm watermark picture.png
    ldm inspect model.safetensors

The first two take every flag of CompVis's scripts of these names, with its meaning and its default,
and lay out their folder alike.
"""

from __future__ import annotations

import argparse
import os
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

# Read when torch is imported: threads that spin while they wait take each other's cores where
# another process is busy.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from ..models.weights import inspect
from ..runtime import __version__
from ..runtime.finite import NotFinite
from ..samplers import SAMPLERS, SCHEDULES
from .draw import draw, resume
from .flags import add_flags, add_model_flags, add_request_flags, family, positive
from .parser import Parser
from .printing import complain, one_line, prepare_streams, printable, say
from .replay import replay
from .show import marks, show

PACKAGE = Path(__file__).parent.parent
COMMANDS = {
    "txt2img": "pictures of a prompt",
    "img2img": "pictures of a prompt, from a picture",
    "inpaint": "a picture drawn anew where a mask is white",
    "outpaint": "a picture continued at its sides",
    "upscale": "a picture drawn larger, in tiles",
}


def parser() -> Parser:
    parser = Parser("ldm", description="Latent diffusion: pictures from text.")
    about = f"ldm {__version__}, {PACKAGE}"
    parser.add_argument("--version", action="version", version=about, help="say which this is")
    names = f"Samplers: {', '.join(SAMPLERS)}. Schedules: automatic, {', '.join(SCHEDULES)}."
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, about in COMMANDS.items():
        command = commands.add_parser(name, help=about, description=about, epilog=names)
        add_request_flags(command, from_image=name != "txt2img")
        add_flags(command, name)
        command.set_defaults(run=draw)
    replaying = "make pictures again from what their files say: ours, A1111's or ComfyUI's"
    for name, about, run, outdir in (
        ("resume", "go on with what --pause_after left", resume, "outputs/resumed"),
        ("replay", replaying, replay, "outputs/replayed"),
    ):
        command = on_files(commands.add_parser(name, help=about, description=about), run)
        told = "where the pictures go (default: %(default)s)"
        command.add_argument("--outdir", type=Path, default=Path(outdir), help=told)
        add_model_flags(command)
    add_request_flags(command, from_image=True)  # replay can make something else of them
    command.set_defaults(preview_every=None, animate=False)
    on_files(
        commands.add_parser("show", help="what the files of pictures say of their making"), show
    )
    command = on_files(
        commands.add_parser("watermark", help="which invisible watermark pictures have"), marks
    )
    command.add_argument(
        "--length", type=positive, metavar="N", help="read any text of N letters instead"
    )
    command = commands.add_parser("inspect", help="what a checkpoint is, without loading it")
    command.add_argument("file", type=Path)
    command.add_argument(
        "--family", type=family, metavar="NAME", help="compare with this family, or JSON file"
    )
    command.add_argument("--verify", action="store_true", help="compute the checksums, too")
    command.set_defaults(run=report)
    return parser


def report(options: argparse.Namespace) -> int:
    """inspect: what a checkpoint is. -> 1 if it cannot be loaded"""
    found = inspect(options.file, family=options.family, verified=options.verify)
    say(printable(str(found)))
    return 0 if found.loadable else 1


def on_files(command: Parser, run: Callable[[argparse.Namespace], int | None]) -> Parser:
    """The command, which is to run on one or several files."""
    command.add_argument("files", type=Path, nargs="+", metavar="FILE")
    command.set_defaults(run=run)
    return command


class Outcome:
    """Around all that a command does.

    code   0: done. 1: no picture could be made, or a file of several not be read. 2: what was asked
           for cannot be. 130: interrupted.
    """

    def __init__(self, command: str) -> None:
        self.command, self.code = command, 0

    def __enter__(self) -> Outcome:
        self.warnings = warnings.catch_warnings()
        self.warnings.__enter__()
        warnings.showwarning = self.warn
        return self

    def warn(self, message: Warning | str, *_: Any, **__: Any) -> None:
        complain(f"{self.command}: warning: {one_line(str(message))}")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> bool:
        self.warnings.__exit__(None, None, None)
        match error:
            case None:
                return True
            case NotFinite():
                self.code, message = 1, str(error)
            case MemoryError() | RuntimeError() if short_of_memory(error):
                what = str(error).split("\n")[0] or type(error).__name__
                self.code = 1
                message = f"memory does not suffice: give smaller --W and --H, or --tile ({what})"
            case ValueError() | OSError():
                self.code, message = 2, str(error)
            case KeyboardInterrupt():
                self.code, message = 130, "interrupted"
            case _:
                return False
        complain(f"{self.command}: error: {one_line(message)}")
        return True


def short_of_memory(error: Exception) -> bool:
    """Only CUDA has an error of its own for that; a CPU and MPS say it in words."""
    words = ("out of memory", "can't allocate memory", "not enough memory")
    return isinstance(error, MemoryError) or any(part in str(error) for part in words)


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line, in a console that prints whatever it says."""
    prepare_streams()
    return parser().parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; None: the one this program was started with. -> see `Outcome`"""
    options = parse(arguments)
    with Outcome(f"ldm {options.command}") as outcome:
        other_package()
        outcome.code = options.run(options) or 0
    return outcome.code


def other_package() -> None:
    """A warning, if Python started here would import another package of this name."""
    here = [path for path in (Path("ldm/__init__.py"), Path("ldm.py")) if path.is_file()]
    if here and not here[0].samefile(PACKAGE / "__init__.py"):
        what = f"{here[0]} is another package: `import ldm` in this folder takes that one"
        warnings.warn(f"{what}, and not {PACKAGE}", stacklevel=2)
