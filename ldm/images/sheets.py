"""Several pictures in one: side by side, also under labels, or one after the other."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..runtime.files import replacing

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageDraw import ImageDraw


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


def labelled_grid(
    images: Sequence[Image], columns: Sequence[str], rows: Sequence[str] = ("",)
) -> Image:
    """Pictures row by row, on white, each column under its label and each row behind its label.

    The cells are as large as the largest picture; the labels are broken into lines where they are
    wider than a cell.
    """
    from PIL import Image, ImageDraw, ImageFont

    if len(images) != len(columns) * len(rows):
        table = f"{len(columns)} columns and {len(rows)} rows"
        raise ValueError(f"{len(images)} pictures do not fill {table}")
    wide, high = max(image.width for image in images), max(image.height for image in images)
    font = ImageFont.load_default(max(10, min(wide, high) // 16))
    pen = ImageDraw.Draw(Image.new("RGB", (1, 1)))
    pen.font = font
    columns, rows = ([broken(pen, label, wide) for label in labels] for labels in (columns, rows))
    gap = 4
    left = gap + max(round(pen.textbbox((0, 0), label)[2]) for label in rows)
    top = 2 * gap + max(round(pen.textbbox((0, 0), label)[3]) for label in columns)
    size = left + gap + len(columns) * (wide + gap), top + len(rows) * (high + gap)
    sheet = Image.new("RGB", size, "white")
    pen = ImageDraw.Draw(sheet)
    pen.font = font
    for i, image in enumerate(images):
        row, column = divmod(i, len(columns))
        sheet.paste(image, (left + gap + column * (wide + gap), top + row * (high + gap)))
    for i, label in enumerate(columns):
        pen.text((left + gap + i * (wide + gap), gap), label, "black")
    for i, label in enumerate(rows):
        pen.text((gap, top + i * (high + gap)), label, "black")
    return sheet


def broken(pen: ImageDraw, label: str, width: int) -> str:
    """The label in lines of at most so many pixels, as far as its words allow."""
    lines: list[str] = []
    for word in label.split():
        if lines and pen.textlength(f"{lines[-1]} {word}") <= width:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return "\n".join(lines)


def save_gif(
    path: str | Path, frames: Sequence[Image], seconds: float = 0.1, last: float = 2.0
) -> None:
    """Frames one after the other, for ever: each for so many seconds, the last for longer, all at
    the last's size."""
    size = frames[-1].size
    frames = [frame if frame.size == size else frame.resize(size) for frame in frames]
    times = [round(1000 * seconds)] * (len(frames) - 1) + [round(1000 * last)]
    options = {"append_images": frames[1:], "duration": times, "loop": 0}
    with replacing(Path(path)) as temporary:
        frames[0].save(temporary, "GIF", save_all=True, **options)


def stacked(rows: Sequence[Image]) -> Image:
    """Pictures one below the other, on white."""
    from PIL import Image

    size = max(row.width for row in rows), sum(row.height for row in rows)
    sheet = Image.new("RGB", size, "white")
    for i, row in enumerate(rows):
        sheet.paste(row, (0, sum(above.height for above in rows[:i])))
    return sheet
