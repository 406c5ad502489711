"""How much of the invisible watermark is left after what happens to pictures.

    python scripts/watermark.py
    python scripts/watermark.py photographs/*.png

Marks each picture, changes it, reads the mark again, and prints a table: the part of the bits that
are right (half is what chance gives) and the part of the pictures whose whole text is right.
Without pictures it takes ten scenes, drawn at 512 pixels. The ten pictures of scikit-image 0.26
that are large enough, photographs most of them, gave

    | what was done to the picture | bits right | whole texts |
    |------------------------------|-----------:|------------:|
    | none                         |      94.6% |         50% |
    | JPEG, quality 95             |      61.9% |          0% |
    | JPEG, quality 75             |      51.5% |          0% |
    | WebP, quality 90             |      68.2% |         10% |
    | twice as large and back      |      94.6% |         50% |
    | half as large and back       |      95.4% |         30% |
    | nine tenths as large         |      50.1% |          0% |
    | cut off below                |      96.8% |         40% |
    | 8 pixels cut off at the left |      49.7% |          0% |
    | 3 pixels cut off at the top  |      60.6% |          0% |
    | 5 % brighter                 |      97.1% |         50% |
    | blurred by a pixel           |      66.8% |         10% |
"""

import argparse
from collections.abc import Callable, Sequence
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter

from ldm.cli import prepare_streams
from ldm.images.files import open_image
from ldm.images.watermark import MARKS, agreement, embed
from ldm.training.shapes.scenes import example


def compressed(image: Image.Image, format: str, quality: int) -> Image.Image:
    """Saved with loss and opened again."""
    file = BytesIO()
    image.save(file, format, quality=quality)
    return Image.open(file).convert("RGB")


def resized(image: Image.Image, factor: float) -> Image.Image:
    """Made smaller or larger, and brought back to its size."""
    other = image.resize(
        (round(image.width * factor), round(image.height * factor)), Image.Resampling.LANCZOS
    )
    return other.resize(image.size, Image.Resampling.LANCZOS)


CHANGES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "none": lambda image: image,
    "JPEG, quality 95": lambda image: compressed(image, "JPEG", 95),
    "JPEG, quality 85": lambda image: compressed(image, "JPEG", 85),
    "JPEG, quality 75": lambda image: compressed(image, "JPEG", 75),
    "JPEG, quality 50": lambda image: compressed(image, "JPEG", 50),
    "WebP, quality 90": lambda image: compressed(image, "WEBP", 90),
    "twice as large and back": lambda image: resized(image, 2),
    "half as large and back": lambda image: resized(image, 0.5),
    "nine tenths as large": lambda image: image.resize(
        (image.width * 9 // 10, image.height * 9 // 10)
    ),
    "cut off below": lambda image: image.crop((0, 0, image.width, image.height * 3 // 4)),
    "8 pixels cut off at the left": lambda image: image.crop((8, 0, image.width, image.height)),
    "3 pixels cut off at the top": lambda image: image.crop((0, 3, image.width, image.height)),
    "5 % brighter": lambda image: image.point(lambda level: level * 1.05),
    "blurred by a pixel": lambda image: image.filter(ImageFilter.GaussianBlur(1)),
}


def robustness(
    pictures: Sequence[Image.Image], message: bytes = MARKS["Stable Diffusion 1"]
) -> dict[str, tuple[float, float]]:
    """For each change: the mean part of bits that are right, and the part of pictures where all
    are."""
    marked = [Image.fromarray(embed(np.asarray(picture), message)) for picture in pictures]
    table = {}
    for name, change in CHANGES.items():
        parts = [agreement(np.asarray(change(picture)), message) for picture in marked]
        table[name] = float(np.mean(parts)), float(np.mean([part == 1 for part in parts]))
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description="How much of the invisible watermark is left.")
    parser.add_argument(
        "pictures", nargs="*", type=Path, help="to mark; at least 256 x 256 pixels each"
    )
    prepare_streams()
    options = parser.parse_args()
    pictures = [open_image(path) for path in options.pictures]
    pictures = pictures or [Image.fromarray(example(0, index, 512)[0]) for index in range(10)]
    print(f"| {'what was done to the picture':28} | bits right | whole texts |")
    print(f"|{'-' * 30}|-----------:|------------:|")
    for name, (bits, texts) in robustness(pictures).items():
        print(f"| {name:28} | {bits:10.1%} | {texts:11.0%} |")


if __name__ == "__main__":
    main()
