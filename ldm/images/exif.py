"""The text that JPEG and WebP files keep about their pictures, where PNG has named texts.

AUTOMATIC1111's `parameters` are EXIF's UserComment. Other texts are, by ComfyUI's habit, plain tags
that begin with the name and a colon.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL.Image import Exif

EXIF_IFD, USER_COMMENT = 0x8769, 0x9286
MAKE = 0x010F  # the first of the tags that hold other texts; the next is one lower, and so on
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
