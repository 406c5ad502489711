"""show and watermark: what the file of a picture says of its making, and what is hidden in the picture."""

import argparse
from dataclasses import fields
from pathlib import Path

import numpy as np

from ..images import open_image
from ..metadata import Origin, read_origin
from ..request import Request
from ..watermark import MARKS, agreement, extract


def show(options: argparse.Namespace) -> None:
    """Print what each file says."""
    for path in options.files:
        print("\n  ".join(said(path, read_origin(path))))


def said(path: Path, origin: Origin) -> list[str]:
    """Who made it, the settings that are not this library's defaults, and those that it has no words for."""
    lines = [f"{path}: made by {origin.program}" + (f", model {origin.model}" if origin.model is not None else "")]
    for f in fields(Request):
        value = getattr(origin.request, f.name)
        if value != f.default or f.name in ("prompt", "seed"):
            lines.append(f"{f.name}: {value}".replace("\n", "\n    "))
    return [*lines, *lost(origin)]


def lost(origin: Origin) -> list[str]:
    """What the request does not honour, a line each."""
    return [f"not honoured: {name}, {why}".replace("\n", " ") for name, why in origin.lost.items()]


def marks(options: argparse.Namespace) -> None:
    """Print which watermark each picture has; or, of a given length, whatever text is in it."""
    for path in options.files:
        pixels = np.asarray(open_image(path))
        if options.length is not None:
            print(f"{path}: {extract(pixels, options.length)!r}")
            continue
        parts = {who: agreement(pixels, message) for who, message in MARKS.items()}
        who = max(parts, key=lambda who: parts[who])
        found = "the mark" if parts[who] == 1 else "no whole mark; at best that"
        print(f"{path}: {found} of {who}, {parts[who]:.0%} of its bits (by chance about half)")
