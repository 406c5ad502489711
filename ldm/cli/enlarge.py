"""enlarge: pictures made larger without a prompt."""

from __future__ import annotations

import argparse
import re
from itertools import chain, count
from pathlib import Path
from typing import TYPE_CHECKING

from ..images.files import open_image, read_text, to_tensor
from ..images.saving import to_pil, write_image
from ..models.upscalers import Upscaler, open_upscaler
from ..pipeline.enlarging import enlarged
from ..runtime.checks import positive
from ..runtime.device import choose_device
from .flags import Parser
from .folder import Folder, save_new
from .output import say
from .printing import complain, one_line

if TYPE_CHECKING:
    from PIL.Image import Image


def add_enlarge(parser: Parser) -> None:
    # fmt: off
    parser.add_argument("files", type=Path, nargs="+", metavar="PICTURE")
    parser.add_argument("--by", type=factor, metavar="X",
        help="how many times as wide and as high (default: as the model does; without one 2)")
    parser.add_argument("--model", type=Path, metavar="FILE",
        help="an upscaler: ESRGAN's or Real-ESRGAN's, or whatever spandrel reads "
        "(default: Lanczos)")
    parser.add_argument("--tile", type=positive, default=512, metavar="N",
        help="pixels of a side that are enlarged at once (default: %(default)s)")
    parser.add_argument("--outdir", type=Path, default=Path("outputs/enlarged"), metavar="DIR",
        help="where the pictures go (default: %(default)s)")
    parser.add_argument("--device", help="cpu, cuda, cuda:1 or mps (default: the best there is)")
    # fmt: on


def factor(text: str) -> float:
    value = float(text)
    if not 0 < value <= 64:
        raise argparse.ArgumentTypeError(f"{text} cannot be: give a number up to 64")
    return value


def enlarge(options: argparse.Namespace) -> int:
    """Enlarge each picture into a PNG of its name, which keeps the texts of the old one. -> the
    command's exit code, see `Outcome`"""
    folder, device = Folder(options.outdir).path, choose_device(options.device)
    upscaler = None if options.model is None else open_upscaler(options.model, device)
    code = 0
    for path in options.files:
        try:
            image, text = made(path, options.by, upscaler, options.tile)
        except ValueError as error:
            complain(f"ldm enlarge: error: {one_line(str(error))}")
            code = max(code, 1 if path.is_file() else 2)
            continue
        names = chain([path.stem], (f"{path.stem}-{i}" for i in count(1)))
        targets = (folder / f"{name}.png" for name in names)
        say(save_new(targets, lambda new: write_image(new, image, text)))  # noqa: B023
    return code


def made(
    path: Path, by: float | None, upscaler: Upscaler | None, tile: int
) -> tuple[Image, dict[str, str]]:
    """The larger picture, and its texts: those of the small one, and what the web UI's Extras would
    say."""
    image = to_tensor(open_image(path))
    own = 2.0 if upscaler is None else upscaler.scale
    times = own if by is None else by
    height, width = (max(1, round(side * times)) for side in image.shape[-2:])
    (large,) = to_pil(enlarged(image, height, width, upscaler, tile))
    name = "Lanczos" if upscaler is None else re.sub(r"[,:\n\"]", "_", upscaler.name)
    text = {key: value for key, value in read_text(path).items() if key in KEPT}
    told = f"Postprocess upscale by: {times:g}, Postprocess upscaler: {name}"
    return large, text | {"postprocessing": told}


KEPT = ("parameters", "ldm", "prompt", "workflow")
