"""The command line.

    ldm txt2img --prompt "..."
    ldm img2img --prompt "..." --init-img in.png
    ldm replay picture.png

and so on: DRAWING and COMMANDS have them all. The first two take every flag of CompVis's scripts of
these names, with its meaning, and lay out their folder alike.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import warnings
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from io import TextIOWrapper
from pathlib import Path
from socket import socketpair
from threading import Thread
from typing import Any

# Read when torch is imported: threads that spin while they wait take each other's cores where
# another process is busy.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from ..runtime import __version__
from ..runtime.ending import deafen
from ..runtime.warn import warn
from .importing import kept
from .interrupt import listen, starting

with starting(), kept():
    from .commands import COMMANDS, Command
    from .draw import draw
    from .errors import explained
    from .flags import Parser, add_flags
    from .help import DRAWING
    from .printing import complain, one_line

PACKAGE = Path(__file__).parent.parent


def parser() -> Parser:
    parser = Parser("ldm", description="Latent diffusion: pictures from text.")
    about = f"ldm {__version__}, {PACKAGE}"
    parser.add_argument("--version", action="version", version=about, help="say which this is")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    own = {n: Command(what, partial(add_flags, command=n), draw) for n, what in DRAWING.items()}
    for name, (about, fill, run) in {**own, **COMMANDS}.items():
        command = commands.add_parser(name, help=about, description=about)
        command.set_defaults(run=run)
        command.fill = fill
    return parser


class Outcome:
    """Around all that a command does; last: after which the program ends.

    code   0: done. 1: no picture could be made, or a file of several not be read. 2: what was asked
           for cannot be, or a file is not there. 130: interrupted.
    """

    def __init__(self, command: str, last: bool = True) -> None:
        self.command, self.last, self.code = command, last, 0

    def __enter__(self) -> Outcome:
        self.warnings = warnings.catch_warnings()
        self.warnings.__enter__()
        warnings.showwarning = self.warn
        self.mouth, ear = socketpair()
        self.mouth.setblocking(False)
        with suppress(ValueError):  # in a thread, which hears no signals
            signal.set_wakeup_fd(self.mouth.fileno())
        self.listener = Thread(target=listen, args=[ear], daemon=True)
        self.listener.start()
        return self

    def warn(self, message: Warning | str, *_: Any, **__: Any) -> None:
        complain(f"{self.command}: warning: {one_line(str(message))}")

    def __exit__(self, _: object, error: BaseException | None, __: object) -> bool:
        if self.last and isinstance(error, KeyboardInterrupt):
            deafen()
        self.warnings.__exit__(None, None, None)
        with suppress(ValueError):
            signal.set_wakeup_fd(-1)
        self.mouth.close()
        self.listener.join()
        if error is None or (told := explained(error)) is None:
            return error is None
        self.code, message = told
        complain(f"{self.command}: error: {one_line(message)}")
        return True


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line, in a console that prints whatever it says."""
    prepare_streams()
    return parser().parse_args(arguments)


def prepare_streams() -> None:
    """Let letters that the console's encoding lacks be printed as \\u1234, instead of an error."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; None: the one this program was started with. -> see `Outcome`"""
    options = parse(arguments)
    with Outcome(f"ldm {options.command}", last=arguments is None) as outcome:
        other_package()
        outcome.code = options.run(options) or 0
    return outcome.code


def other_package() -> None:
    """A warning, if Python started here would import another package of this name."""
    here = [path for path in (Path("ldm/__init__.py"), Path("ldm.py")) if path.is_file()]
    if here and not here[0].samefile(PACKAGE / "__init__.py"):
        what = f"{here[0]} is another package than {PACKAGE}, and `import ldm` here takes it"
        warn(f"{what}; if this folder is a clone, install it by `pip install -e .`")
