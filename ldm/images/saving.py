"""Pictures as they go: tensors (B, 3, H, W) in [-1, 1] -> PIL's -> files with text inside. The way
back is `files`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ..runtime.files import replacing
from .exif import exif_options

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.PngImagePlugin import PngInfo


def to_pil(images: Tensor, truncate: bool = False) -> list[Image]:
    """(B, 3, H, W) in [-1, 1], clamped -> B of PIL's.

    The one place where a picture becomes 8 bits. It rounds, so that a file read and written again
    stays the same; CompVis's scripts and the web UIs cut the fraction off (truncate), which darkens
    by half a grey level.
    """
    from PIL import Image

    levels = (images.detach().float().cpu().clamp(-1, 1) + 1) * 127.5
    pixels = (levels if truncate else levels.round()).to(torch.uint8)
    return [Image.fromarray(image) for image in pixels.permute(0, 2, 3, 1).numpy()]


def save_image(path: str | Path, image: Image, text: Mapping[str, str] | None = None) -> None:
    """Save a picture whole or not at all, see `write_image`. text: None for what a picture that was
    drawn knows of its making (`image.info`)."""
    if text is None:
        text = {key: image.info[key] for key in ("parameters", "ldm") if key in image.info}
    with replacing(Path(path)) as temporary:
        image.save(temporary, **file_options(Path(path), text))


def write_image(path: Path, image: Image, text: Mapping[str, str]) -> None:
    """Write a picture with its text, as PNG, JPEG or lossless WebP, as its name ends."""
    image.save(path, **file_options(path, text))


def file_options(path: Path, text: Mapping[str, str]) -> dict[str, Any]:
    """How PIL is to write a file of this name with this text."""
    if path.suffix == ".png":
        return {"format": "PNG", "pnginfo": png_info(text)}
    return exif_options(path, text)


def png_info(text: Mapping[str, str]) -> PngInfo:
    from PIL.PngImagePlugin import PngInfo

    info = PngInfo()
    for key, value in text.items():
        info.add_text(key, value)
    return info
