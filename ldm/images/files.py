"""Pictures as they come: files -> PIL's -> tensors (1, 3, H, W) in [-1, 1]; and the text inside a
file. The way back is `saving`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .exif import from_exif, repaired

if TYPE_CHECKING:
    from PIL.Image import Image

ARRAY = ": PIL.Image.fromarray(array) makes one of bytes (H, W, 3) or (H, W)"


@contextmanager
def opened(path: str | Path) -> Iterator[Image]:
    """A picture file, as PIL opens it; ValueError of one line for all that can be wrong with it."""
    from PIL import Image, PngImagePlugin

    # some colour profiles are larger than PIL's limit for one text, which holds for them, too
    PngImagePlugin.MAX_TEXT_CHUNK = PngImagePlugin.MAX_TEXT_MEMORY
    if not Path(path).is_file():
        raise ValueError(f"there is no picture {str(path)!r}")
    try:
        with Image.open(path) as image:
            yield image
    except Exception as error:  # a damaged file may raise anything: KeyError, struct.error ...
        what = repr(error) if isinstance(error, LookupError) else str(error)
        line = " ".join(what.split())[:300]
        raise ValueError(f"{str(path)!r} cannot be read as a picture: {line}") from None


def open_image(path: str | Path, convert: Callable[[Image], Image] | None = None) -> Image:
    """A picture file, as `rgb` makes it, or another `convert`."""
    with opened(path) as image:
        return (convert or rgb)(image)


def rgb(image: Image, ground: str = "white") -> Image:
    """Any picture of PIL's as RGB: turned as its EXIF orientation says, transparency on a ground of
    one colour, 16 bits and fractions brought to 8 bits."""
    from PIL import Image, ImageOps

    if not isinstance(image, Image.Image):
        what = type(image).__name__ + (ARRAY if isinstance(image, np.ndarray) else "")
        raise ValueError(f"a picture must be a file, one of PIL's or a tensor, not {what}")
    image = ImageOps.exif_transpose(image)
    if image.mode == "F":
        image = Image.fromarray(from_fractions(np.asarray(image)))
    if image.mode.startswith("I"):  # 16 bits a pixel, which PIL would clip rather than scale
        image = Image.fromarray((np.asarray(image).clip(0, 65535) / 257).round().astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, ground), image)
    return image.convert("RGB")


def from_fractions(pixels: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Grey levels in 8 bits: of numbers from 0 to 1 where none is larger, else from 0 to 255, else
    from 0 to 65535. NaN is black."""
    pixels = np.nan_to_num(pixels, posinf=0)
    most = next((most for most in (1, 255, 65535) if pixels.max() <= most), None)
    if most is None:
        raise ValueError("numbers beyond 65535: scale them to 0 to 1")
    levels: NDArray[np.uint8] = (pixels.clip(0) / most * 255).round().astype(np.uint8)
    return levels


def to_tensor(image: Image) -> Tensor:
    """PIL -> (1, 3, H, W) float32 in [-1, 1]"""
    pixels = torch.from_numpy(np.array(rgb(image)))  # (H, W, 3) uint8
    return pixels.permute(2, 0, 1)[None].float() / 127.5 - 1


def fit(image: Image, multiple: int, width: int | None = None, height: int | None = None) -> Image:
    """The picture at a size whose sides are multiples of `multiple`: the one asked for, else its
    own rounded down."""
    from PIL.Image import Resampling

    size = (
        image.width - image.width % multiple if width is None else width,
        image.height - image.height % multiple if height is None else height,
    )
    if min(size) == 0:
        own, least = f"{image.width} x {image.height}", f"{multiple} x {multiple}"
        raise ValueError(f"a picture of {own} is too small: give at least {least}")
    return image if image.size == size else image.resize(size, Resampling.LANCZOS)


def read_text(path: str | Path) -> dict[str, str]:
    """The text inside a PNG, JPEG or WebP file, by key: `saving`'s, or another program's."""
    from PIL.PngImagePlugin import iTXt

    with opened(path) as image:
        try:
            image.load()  # text may also stand behind the pixels
            text, named = from_exif(image.getexif()), getattr(image, "text", {})
        except Exception:  # what stands before the damage can be read
            text = {} if image.format == "PNG" else from_exif(image.getexif())
            named = {key: value for key, value in image.info.items() if isinstance(value, str)}
            if not named and not text:
                raise
    for key, value in named.items():  # iTXt is UTF-8, tEXt and zTXt should be Latin-1
        text[key] = str(value) if isinstance(value, iTXt) else repaired(value)
    return text
