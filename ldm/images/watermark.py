"""Stable Diffusion's invisible mark: a short text hidden in the colours of a picture.

It is the method "dwtDct" of the package invisible-watermark, with which CompVis's and Stability's
scripts mark what they draw, to the last bit of every pixel: a picture marked here is read there,
and the other way round.

    embed    the text's bits, over and over, one into each block of 8 x 8 pixels
    extract  the majority of its copies for each bit

A bit lives in one number: of the blue-difference channel U the 2 x 2 sums (the low band of a Haar
transform), of those in a block the greatest but for the first. It is moved to the quarter (bit 0)
or three quarters (bit 1) of its interval of STEP. (The package's name promises a cosine transform
on top; its code has none.)

It is a weak mark. Where a block is smooth, a number that moves down hands its place on to another,
which is then read; in pure colours the change is cut off. Of ten photographs five gave the whole
text back, and none after JPEG's quality 95, a change of size, or a cut at the left:
scripts/watermark.py measures it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..runtime.warn import warn

if TYPE_CHECKING:
    from PIL.Image import Image

Pixels = NDArray[np.uint8]  # (H, W, 3), red first
Plane = NDArray[np.float64]
Indices = NDArray[np.intp]

MARKS = {  # who marks pictures with what
    "Stable Diffusion 1": b"StableDiffusionV1",
    "Stable Diffusion 2": b"SDV2",
    "Stable Diffusion XL": bytes.fromhex("b3ec907bb19e"),
}
STEP = 36
SMALLEST = 256 * 256  # pixels; the package refuses less, and so does this module
HALF = 1 << 13  # 0.5 in the 14 binary digits of the colour transform


def embed(pixels: Pixels, message: bytes = MARKS["Stable Diffusion 1"]) -> Pixels:
    """The picture with the message in it. (H, W, 3) uint8 RGB -> the same.

    ValueError for less than 256 x 256 pixels, or a picture too narrow to hold the message once.
    """
    bits = np.unpackbits(np.frombuffer(message, np.uint8))
    check(pixels, len(bits))
    luma, blue, red = to_yuv(pixels)
    height, width = blue.shape[0] // 4 * 4, blue.shape[1] // 4 * 4
    coarse, down, across, both = haar(blue[:height, :width])
    place = carriers(coarse)
    wanted = np.resize(bits, len(place[0]))  # the message again and again
    coarse[place] = (coarse[place] // STEP + 0.25 + 0.5 * wanted) * STEP
    # The package gives the two middle bands back the wrong way round, which transposes each 2 x 2
    # pixels of U.
    blue[:height, :width] = unhaar(coarse, across, down, both).astype(np.uint8)
    return to_rgb(luma, blue, red)


def extract(pixels: Pixels, length: int = 17) -> bytes:
    """The `length` bytes that are hidden in a picture, (H, W, 3) uint8 RGB; of one without a mark,
    any bytes.

    ValueError for a picture that `embed` would refuse.
    """
    check(pixels, 8 * length)
    _, blue, _ = to_yuv(pixels)
    coarse, *_ = haar(blue[: blue.shape[0] // 4 * 4, : blue.shape[1] // 4 * 4])
    votes = coarse[carriers(coarse)] % STEP > STEP / 2
    which = np.arange(len(votes)) % (8 * length)
    shares = np.bincount(which, votes) / np.bincount(which)
    return np.packbits(shares * 255 > 127).tobytes()  # a tie is a 1


def marked(image: Image, text: str) -> Image:
    """A picture of PIL's with the text in it; a warning, if it cannot be read there."""
    from PIL import Image

    pixels = embed(np.asarray(image), text.encode())
    if (part := agreement(pixels, text.encode())) < 1:
        what = f"the watermark cannot be read back whole: the picture keeps {part:.0%} of its bits"
        warn(what)
    return Image.fromarray(pixels)


def agreement(pixels: Pixels, message: bytes) -> float:
    """The part of the message's bits that are found in a picture: 1 for a whole mark, about a half
    for none."""
    found = np.frombuffer(extract(pixels, len(message)), np.uint8)
    wrong = np.unpackbits(found ^ np.frombuffer(message, np.uint8))
    return 1 - float(wrong.mean())


def check(pixels: Pixels, bits: int) -> None:
    """An error, unless this is a picture that can hold so many bits."""
    if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.dtype != np.uint8:
        what = f"{pixels.shape} of {pixels.dtype}"
        raise ValueError(f"a picture must be (H, W, 3) of uint8, not {what}")
    check_size(pixels.shape[1], pixels.shape[0], bits)


def check_size(width: int, height: int, bits: int) -> None:
    """An error, unless a picture of that size can hold so many bits."""
    if bits == 0:
        raise ValueError("a watermark must have at least a letter")
    if height * width < SMALLEST or (height // 8) * (width // 8) < bits:
        raise ValueError(
            f"a picture of {width} x {height} is too small for a watermark of {bits} bits: "
            "it takes as many pixels as 256 x 256, and 8 x 8 of them for each bit"
        )


def carriers(coarse: Plane) -> tuple[Indices, Indices]:
    """Rows and columns of the numbers that hold the bits: of each 4 x 4 the greatest, its first one
    left aside."""
    rows, columns = coarse.shape[0] // 4, coarse.shape[1] // 4
    blocks = coarse[: 4 * rows, : 4 * columns].reshape(rows, 4, columns, 4)
    blocks = blocks.transpose(0, 2, 1, 3).reshape(-1, 16)
    row, column = np.divmod(1 + blocks[:, 1:].argmax(1), 4)  # U is positive, and so are its sums
    block_row, block_column = np.divmod(np.arange(len(blocks)), columns)
    return 4 * block_row + row, 4 * block_column + column


def haar(plane: NDArray[np.uint8]) -> tuple[Plane, Plane, Plane, Plane]:
    """One level of the Haar transform: sums, differences downwards, differences across, and both.
    (2H, 2W) -> (H, W)"""
    low, high = split(plane.astype(np.float64))
    (coarse, across), (down, both) = split(low.T), split(high.T)
    return coarse.T, down.T, across.T, both.T


def unhaar(coarse: Plane, down: Plane, across: Plane, both: Plane) -> Plane:
    """The inverse of `haar`."""
    return join(join(coarse.T, across.T).T, join(down.T, both.T).T)


def split(x: Plane) -> tuple[Plane, Plane]:
    """Sums and differences of neighbouring rows, over sqrt(2). (2N, M) -> (N, M) twice"""
    first, second = np.sqrt(0.5) * x[::2], np.sqrt(0.5) * x[1::2]
    return first + second, first - second


def join(sums: Plane, differences: Plane) -> Plane:
    """The inverse of `split`."""
    a, b = np.sqrt(0.5) * sums, np.sqrt(0.5) * differences
    return np.stack([a + b, a - b], axis=1).reshape(-1, sums.shape[1])


def to_yuv(pixels: Pixels) -> tuple[Pixels, Pixels, Pixels]:
    """Luma and the differences of blue and red to it, each (H, W) uint8: OpenCV's BGR2YUV, in its
    whole numbers.

    U stays within 17 and 239, so that the mark cannot push it out of 8 bits.
    """
    red, green, blue = np.moveaxis(pixels.astype(np.int32), 2, 0)
    luma = (4899 * red + 9617 * green + 1868 * blue + HALF) >> 14
    planes = (
        luma,
        128 + ((8061 * (blue - luma) + HALF) >> 14),
        128 + ((14369 * (red - luma) + HALF) >> 14),
    )
    y, u, v = (plane.clip(0, 255).astype(np.uint8) for plane in planes)
    return y, u, v


def to_rgb(y: Pixels, u: Pixels, v: Pixels) -> Pixels:
    """The inverse of `to_yuv`, to a grey level or two: OpenCV's YUV2BGR. -> (H, W, 3)"""
    luma, blue, red = y.astype(np.int32), u.astype(np.int32) - 128, v.astype(np.int32) - 128
    planes = (
        luma + ((18678 * red + HALF) >> 14),
        luma + ((-6472 * blue - 9519 * red + HALF) >> 14),
        luma + ((33292 * blue + HALF) >> 14),
    )
    return np.stack(planes, axis=2).clip(0, 255).astype(np.uint8)
