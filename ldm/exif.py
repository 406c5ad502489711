"""The text that JPEG and WebP files keep about their pictures, where PNG has named texts.

AUTOMATIC1111's `parameters` are EXIF's UserComment. Other texts are, by ComfyUI's habit, plain tags that begin with the
name and a colon.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL.Image import Exif

EXIF_IFD, USER_COMMENT = 0x8769, 0x9286
MAKE = 0x010F  # the first of the tags that hold other texts; the next is one lower, and so on
NAMED = re.compile(r"(\w+):(\{.*)", re.DOTALL)


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
    """The inverse, for files of any program."""
    named = (NAMED.fullmatch(value) for value in exif.values() if isinstance(value, str))
    text = {match[1]: match[2] for match in named if match is not None}
    comment = exif.get_ifd(EXIF_IFD).get(USER_COMMENT)
    if comment:
        text["parameters"] = comment if isinstance(comment, str) else decoded(comment)
    return text


def decoded(comment: bytes) -> str:
    """A UserComment: eight bytes that name its encoding, and the text. UTF-16 comes in both orders of bytes."""
    name, data = comment[:8], comment[8:]
    if name != b"UNICODE\0":
        return data.decode("utf-8", "replace").rstrip("\0")
    big = data[::2].count(0) >= data[1::2].count(0)  # the zeros are the upper halves of Latin letters
    return data.decode("utf-16-be" if big else "utf-16-le", "replace").lstrip("\ufeff")
