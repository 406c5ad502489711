"""JPEG and WebP files, and the text that they keep, where PNG has named texts.

AUTOMATIC1111's `parameters` are EXIF's UserComment. Other texts are, by ComfyUI's habit, plain tags
that begin with the name and a colon.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..runtime.warn import warn

if TYPE_CHECKING:
    from PIL.Image import Exif

EXIF_IFD, USER_COMMENT = 0x8769, 0x9286
MAKE = 0x010F  # the first of the tags that hold other texts; the next is one lower, and so on
JPEG_TEXT = 65533  # bytes of EXIF in one file
NAMED = re.compile(r"(\w+):\s*(\{.*)", re.DOTALL)


def to_exif(text: Mapping[str, str]) -> Exif:
    """The texts as EXIF; but for `parameters`, JSON objects in ASCII."""
    from PIL.Image import Exif

    exif = Exif()
    if "parameters" in text:
        exif.get_ifd(EXIF_IFD)[USER_COMMENT] = b"UNICODE\0" + text["parameters"].encode("utf-16-be")
    for i, name in enumerate(name for name in text if name != "parameters"):
        exif[MAKE - i] = f"{name}:{text[name]}"
    return exif


def exif_options(path: Path, text: Mapping[str, str]) -> dict[str, Any]:
    """How PIL is to write a JPEG or a lossless WebP of this name. A JPEG holds 64 kB of text: what
    is longer is left out, with a warning."""
    if path.suffix == ".webp":
        return {"format": "WEBP", "lossless": True, "exif": to_exif(text)}
    if path.suffix != ".jpg":
        names = ".png, .webp, .jpg"
        raise ValueError(f"a picture cannot be saved as {path.name!r}: let its name end in {names}")
    kept = fitting(text)
    if left_out := ", ".join(name for name in text if name not in kept):
        what = f"{path.name}: the text of {left_out} is too long for a JPEG, and left out"
        warn(what)
    return {"format": "JPEG", "quality": 95, "subsampling": 0, "exif": to_exif(kept)}


def fitting(text: Mapping[str, str]) -> Mapping[str, str]:
    """As much of a text as a JPEG holds: all, `parameters` alone, or nothing."""
    parameters = {name: value for name, value in text.items() if name == "parameters"}
    candidates: tuple[Mapping[str, str], ...] = (text, parameters, {})
    return next(some for some in candidates if len(to_exif(some).tobytes()) <= JPEG_TEXT)


def from_exif(exif: Exif) -> dict[str, str]:
    """The inverse, for files of any program: a comment with AUTOMATIC1111's "Steps: " is
    `parameters`; any other, which a camera may have written, is `UserComment`."""
    named = (NAMED.fullmatch(repaired(value)) for value in exif.values() if isinstance(value, str))
    text = {match[1].lower(): match[2] for match in named if match is not None}
    comment = exif.get_ifd(EXIF_IFD).get(USER_COMMENT)
    if isinstance(comment, bytes):
        comment = decoded(comment)
    if isinstance(comment, str) and comment.strip(" \0\n"):
        text["parameters" if "Steps: " in comment else "UserComment"] = comment
    return text


def decoded(comment: bytes) -> str:
    """A UserComment: eight bytes that name its encoding, and the text. UTF-16 comes in both orders
    of bytes."""
    name, data = comment[:8], comment[8:]
    if name == b"UNICODE\0":
        big = data[::2].count(0) >= data[1::2].count(0)  # Latin letters have an upper half of 0
        return data.decode("utf-16-be" if big else "utf-16-le", "replace").lstrip("\ufeff")
    return data.decode("utf-8", "replace").rstrip("\0")


def repaired(text: str) -> str:
    """Text that was read as Latin-1, or as UTF-8 if it was that: by chance Latin-1 hardly ever is.

    >>> repaired("b\xc3\xa4r"), repaired("b\xe4r")
    ('bär', 'bär')
    """
    try:
        return text.encode("latin-1").decode("utf-8")
    except UnicodeError:
        return text
