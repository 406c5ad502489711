"""Pictures that know how they were made, for whoever draws from Python."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..images.saving import png_info
from ..metadata import texts
from ..metadata.writing import About
from ..request import Request

if TYPE_CHECKING:
    from PIL.Image import Image


def add_making(
    images: Sequence[Image], requests: Sequence[Request], models: Sequence[About]
) -> None:
    """Put the texts of a file into `image.info`. `ldm.save_image` writes them, and so does
    `image.save("x.png")` where Pillow keeps what it is told beforehand. models: see
    `About`."""
    for image, request, model in zip(images, requests, models):
        text = texts(request, model)
        image.info.update(text)
        image.encoderinfo = {"pnginfo": png_info(text)}
