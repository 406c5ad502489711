"""Pictures: files <-> PIL <-> tensors (B, 3, H, W) in [-1, 1]; sizes, grids, and the text inside a file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from .exif import from_exif, to_exif
from .files import replacing

if TYPE_CHECKING:
    from PIL.Image import Image


def open_image(path: str | Path) -> Image:
    """A picture file, as `rgb` makes it."""
    from PIL import Image

    if not Path(path).is_file():
        raise ValueError(f"there is no picture {str(path)!r}")
    try:
        with Image.open(path) as image:
            return rgb(image)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ValueError(f"{str(path)!r} cannot be read as a picture: {error}") from None


def rgb(image: Image) -> Image:
    """Any picture of PIL's as RGB: turned as its EXIF orientation says, transparency on white, 16 bits brought to 8."""
    from PIL import Image, ImageOps

    if not isinstance(image, Image.Image):
        raise ValueError(f"a picture must be a file, one of PIL's or a tensor, not {type(image).__name__}")
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I"):  # 16 bits a pixel, which PIL would clip rather than scale
        image = Image.fromarray((np.asarray(image).clip(0, 65535) / 257).round().astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image)
    return image.convert("RGB")


def to_tensor(image: Image) -> Tensor:
    """PIL -> (1, 3, H, W) float32 in [-1, 1]"""
    pixels = torch.from_numpy(np.array(rgb(image)))  # (H, W, 3) uint8
    return pixels.permute(2, 0, 1)[None].float() / 127.5 - 1


def to_pil(images: Tensor, truncate: bool = False) -> list[Image]:
    """(B, 3, H, W) in [-1, 1], clamped -> B of PIL's.

    The one place where a picture becomes 8 bits. It rounds, so that a file read and written again stays the same;
    CompVis's scripts and the web UIs cut the fraction off (truncate), which darkens by half a grey level.
    """
    from PIL import Image

    levels = (images.detach().float().cpu().clamp(-1, 1) + 1) * 127.5
    pixels = (levels if truncate else levels.round()).to(torch.uint8)
    return [Image.fromarray(image) for image in pixels.permute(0, 2, 3, 1).numpy()]


def fit(image: Image, multiple: int, width: int | None = None, height: int | None = None) -> Image:
    """The picture at a size whose sides are multiples of `multiple`: the one asked for, else its own rounded down."""
    from PIL.Image import Resampling

    size = (
        image.width - image.width % multiple if width is None else width,
        image.height - image.height % multiple if height is None else height,
    )
    if min(size) == 0:
        raise ValueError(
            f"a picture of {image.width} x {image.height} is too small: give at least {multiple} x {multiple}"
        )
    return image if image.size == size else image.resize(size, Resampling.LANCZOS)


def grid(images: Sequence[Image], columns: int, padding: int = 2) -> Image:
    """Pictures in rows of `columns`, on black, as torchvision's `make_grid` lays them out; smaller ones in a corner.

    Each has `padding` to its left and above, the last ones also on the other side; a single picture stays as it is.
    """
    from PIL import Image

    if len(images) == 1:
        return images[0]
    columns = min(columns, len(images))
    rows = -(-len(images) // columns)
    wide, high = (max(sides) + padding for sides in zip(*(image.size for image in images)))
    sheet = Image.new("RGB", (columns * wide + padding, rows * high + padding))
    for i, image in enumerate(images):
        sheet.paste(image, (i % columns * wide + padding, i // columns * high + padding))
    return sheet


def save_image(path: str | Path, image: Image, text: Mapping[str, str] | None = None) -> None:
    """Write a picture with its text, as PNG, JPEG or lossless WebP, as its name ends."""
    from PIL.PngImagePlugin import PngInfo

    path, text, info = Path(path), text or {}, PngInfo()
    for key, value in text.items():
        info.add_text(key, value)
    ways: dict[str, dict[str, Any]] = {
        ".png": {"format": "PNG", "pnginfo": info},
        ".webp": {"format": "WEBP", "lossless": True, "exif": to_exif(text)},
        ".jpg": {"format": "JPEG", "quality": 95, "subsampling": 0, "exif": to_exif(text)},
    }
    if path.suffix not in ways:
        raise ValueError(f"a picture cannot be saved as {path.name!r}: let its name end in {', '.join(ways)}")
    with replacing(path) as temporary:
        image.save(temporary, **ways[path.suffix])


def read_text(path: str | Path) -> dict[str, str]:
    """The text inside a PNG, JPEG or WebP file, by key: `save_image`'s, or another program's."""
    from PIL import Image

    try:
        with Image.open(path) as image:
            image.load()  # text may also stand behind the pixels
            named = {str(key): str(value) for key, value in getattr(image, "text", {}).items()}
            return {**from_exif(image.getexif()), **named}
    except (OSError, SyntaxError, ValueError) as error:
        raise ValueError(f"{str(path)!r} cannot be read as a picture: {error}") from None
