"""show, watermark and inspect: what the file of a picture says of its making, what is hidden in the
picture, and what a checkpoint is."""

import argparse
import json
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import numpy as np

from ..images.files import open_image
from ..images.watermark import MARKS, agreement, extract
from ..metadata import ImageMetadata, read_metadata
from ..models.weights import inspect
from ..request import Request
from .output import say
from .printing import complain, one_line, printable


def show(options: argparse.Namespace) -> int:
    """Print what each file says."""
    return each(options, lambda path: "\n  ".join(said(path, read_metadata(path))))


def each(options: argparse.Namespace, told: Callable[[Path], str]) -> int:
    """Print what is told of each file; of one that nothing can be told of, the reason. -> the
    command's exit code, see `Outcome`"""
    code = 0
    for path in options.files:
        try:
            say(printable(told(path)))
        except (ValueError, OSError) as error:
            complain(f"ldm {options.command}: error: {one_line(str(error))}")
            code = max(code, 1 if path.is_file() else 2)
    return code


def said(path: Path, metadata: ImageMetadata) -> list[str]:
    """Who made it, the settings that are not this library's defaults, and those that it has no
    words for."""
    model = f", model {metadata.model}" if metadata.model is not None else ""
    lines = [f"{path}: made by {metadata.program}{model}"]
    for f in fields(Request):
        value = getattr(metadata.request, f.name)
        if f.name.startswith("hires_") and metadata.request.hires is None:
            continue
        if value != f.default or f.name in ("prompt", "seed"):
            lines.append(f"{f.name}: {value}".replace("\n", "\n    "))
    return [*lines, *unsupported(metadata)]


def unsupported(metadata: ImageMetadata) -> list[str]:
    """What the request does not honour, a line each."""
    lines = (f"not honoured: {name}, {why}" for name, why in metadata.unsupported.items())
    return [line.replace("\n", " ") for line in lines]


def marks(options: argparse.Namespace) -> int:
    """Print which watermark each picture has; or, of a given length, whatever text is in it."""

    def told(path: Path) -> str:
        pixels = np.asarray(open_image(path))
        if options.length is not None:
            return f"{path}: {extract(pixels, options.length)!r}"
        parts = {who: agreement(pixels, message) for who, message in MARKS.items()}
        who = max(parts, key=lambda who: parts[who])
        found = "the mark" if parts[who] == 1 else "no whole mark; at best that"
        share = f"{parts[who]:.0%} of its bits (by chance about half)"
        return f"{path}: {found} of {who}, {share}"

    return each(options, told)


def report(options: argparse.Namespace) -> int:
    """Print what a checkpoint is, or its family as JSON; or what a file is that is added to one.
    -> 1 if it cannot be loaded"""
    asked = {"family": options.family, "prediction": options.prediction}
    found = inspect(options.file, verified=options.verify, hashed=True, **asked)
    if options.family_json:
        say(json.dumps(found.family.to_dict(), indent=2))
        return 0
    say(printable(str(found)))
    return 0 if found.loadable else 1
