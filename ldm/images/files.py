"""Pictures: files <-> PIL <-> tensors (B, 3, H, W) in [-1, 1]; sizes, grids, and the text inside a
file."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..runtime.files import replacing
from .exif import from_exif, repaired, to_exif

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.PngImagePlugin import PngInfo

JPEG_TEXT = 65533  # bytes of EXIF in one file


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
        what = type(image).__name__
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


def grid(images: Sequence[Image], columns: int, padding: int = 2) -> Image:
    """Pictures in rows of `columns`, on black, as torchvision's `make_grid` lays them out; smaller
    ones in a corner.

    Each has `padding` to its left and above, the last ones also on the other side; a single picture
    stays as it is.
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
    """Write a picture with its text, as PNG, JPEG or lossless WebP, as its name ends. A JPEG holds
    64 kB of text: what is longer is left out, with a warning. text: None for what a picture that
    was drawn knows of its making (`image.info`)."""
    path = Path(path)
    if text is None:
        text = {key: image.info[key] for key in ("parameters", "ldm") if key in image.info}
    options: dict[str, Any]
    if path.suffix == ".png":
        options = {"format": "PNG", "pnginfo": png_info(text)}
    elif path.suffix == ".webp":
        options = {"format": "WEBP", "lossless": True, "exif": to_exif(text)}
    elif path.suffix == ".jpg":
        kept = fitting(text)
        options = {"format": "JPEG", "quality": 95, "subsampling": 0, "exif": to_exif(kept)}
        if left_out := ", ".join(name for name in text if name not in kept):
            what = f"{path.name}: the text of {left_out} is too long for a JPEG, and left out"
            warnings.warn(what, stacklevel=2)
    else:
        names = ".png, .webp, .jpg"
        raise ValueError(f"a picture cannot be saved as {path.name!r}: let its name end in {names}")
    with replacing(path) as temporary:
        image.save(temporary, **options)


def png_info(text: Mapping[str, str]) -> PngInfo:
    from PIL.PngImagePlugin import PngInfo

    info = PngInfo()
    for key, value in text.items():
        info.add_text(key, value)
    return info


def fitting(text: Mapping[str, str]) -> Mapping[str, str]:
    """As much of a text as a JPEG holds: all, `parameters` alone, or nothing."""
    parameters = {name: value for name, value in text.items() if name == "parameters"}
    candidates: tuple[Mapping[str, str], ...] = (text, parameters, {})
    return next(some for some in candidates if len(to_exif(some).tobytes()) <= JPEG_TEXT)


def read_text(path: str | Path) -> dict[str, str]:
    """The text inside a PNG, JPEG or WebP file, by key: `save_image`'s, or another program's."""
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
