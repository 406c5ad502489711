"""From packages to a collection: every thing in every style, and faces."""

import hashlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL.Image import open as open_picture

from . import faces
from .collection import Entry, Pixels
from .names import Name, all_names, code_of
from .packages import read
from .rendering import fill, fitted, pixel_art, rendered, silhouette

ICONS = {  # styles whose drawings are in a package of iconify
    "cartoon": "noto",
    "flat": "fluent-emoji-flat",
    "gradient": "fluent-emoji",
}
LARGE = 256  # width at which a drawing is rendered, to be scaled down
DERIVED: dict[str, tuple[str, Callable[[Pixels], Pixels], float]] = {  # of which style, how, weight
    "pixel art": ("flat", pixel_art, 0.7),
    "silhouette": ("flat", silhouette, 0.4),
}
DISC = 0.74  # a silhouette that fills more of its box might be anything
FACE_NAMES = ("person", "face", "portrait", "portrait of a person", "avatar")
FACE_CHINESE = ("人脸", "头像")
FACE_WEIGHT = 0.3

Drawn = tuple[Entry, Pixels]


def things(modules: Path, size: int) -> Iterator[Drawn]:
    """Every emoji that is a thing, in every style that has it, size x size."""
    icons = {style: _icons(modules / "@iconify-json" / name) for style, name in ICONS.items()}
    solid = modules / "@lobehub" / "fluent-emoji-3d" / "assets"
    models = {code_of(path.stem): path for path in solid.glob("*.webp")}
    for name in all_names(modules / "emojibase-data"):
        pictures = {
            style: fitted(rendered(drawn[name.code]), size)
            for style, drawn in icons.items()
            if name.code in drawn
        }
        if name.code in models and "flat" in pictures:  # of the same set, hence of its licence
            with open_picture(models[name.code]) as picture:
                pictures["3d"] = fitted(np.array(picture.convert("RGBA")), size)
        yield from _entries(name, pictures)


def _entries(name: Name, pictures: dict[str, Pixels]) -> Iterator[Drawn]:
    made = {style: (pixels, 1.0) for style, pixels in pictures.items()}
    for style, (source, derive, weight) in DERIVED.items():
        if source in pictures and (style != "silhouette" or tells_by_shape(pictures[source])):
            made[style] = derive(pictures[source]), weight
    for style, (pixels, weight) in made.items():
        words = name.english, name.tags, name.chinese
        yield Entry(name.code, style, name.group, *words, weight=weight * name.weight), pixels


def tells_by_shape(pixels: Pixels) -> bool:
    """Whether the outline alone tells what it is: not where that is all but a disc or a square."""
    return fill(pixels) < DISC


def _icons(package: Path) -> dict[str, str]:
    """The drawings of a package of iconify, by code points."""
    held = read(package / "icons.json")
    names = read(package / "chars.json")
    if not names:  # fluent-emoji has its code points in the package of its flat sister
        names = read(package.with_name(f"{package.name}-flat") / "chars.json")
    width, height = held.get("width", 16), held.get("height", 16)
    found = {}
    for code, name in names.items():
        if (icon := held["icons"].get(name)) is not None:
            found[code_of(code)] = _svg(icon, width, height)
    return found


def _svg(icon: dict[str, Any], width: int, height: int) -> str:
    box = icon.get("left", 0), icon.get("top", 0), icon.get("width", width)
    left, top, across, down = *box, icon.get("height", height)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
        f'width="{LARGE}" height="{LARGE * down / across}" viewBox="{left} {top} {across} {down}">'
        f"{icon['body']}</svg>"
    )


def portraits(modules: Path, size: int, count: int) -> Iterator[Drawn]:
    """`count` faces of each of the styles that draw faces; those without a named part are left
    out."""
    for style, called in faces.STYLES.items():
        for svg, parts in faces.drawings(modules, style, count):
            if parts:
                thing = f"face {', '.join(parts)}"
                words = FACE_NAMES, (), FACE_CHINESE, parts
                entry = Entry(thing, called, "faces", *words, weight=FACE_WEIGHT)
                yield entry, fitted(rendered(svg), size)


def without_doubles(drawn: Iterable[Drawn]) -> Iterator[Drawn]:
    """Leaves out what looks as an earlier one of the same style does."""
    seen: set[tuple[str, bytes]] = set()
    for entry, pixels in drawn:
        key = entry.style, hashlib.sha256((pixels // 32).tobytes()).digest()
        if key not in seen:
            seen.add(key)
            yield entry, pixels
