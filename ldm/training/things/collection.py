"""The pictures of things that were rendered once: one file, which is memory-mapped.

N pictures of S x S pixels. A thing is drawn in several styles, a picture in each. Alpha is straight
(not multiplied in), so that a thing can be put on any ground.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from ...runtime.files import replacing

Pixels = NDArray[np.uint8]  # (S, S, 4): red, green, blue, alpha

HELD_OUT = 0.05  # this part of all pairs of thing and style is never trained on
STYLES_TO_HOLD_OUT = 3  # a thing of fewer styles is trained on in all of them
PARTS_TO_HOLD_OUT = 3  # a face of fewer parts, too: many others have the same


@dataclass(frozen=True)
class Entry:
    """What a picture shows.

    thing     the same in every style: the code points of its character, or a face's parts
    style     a key of words.STYLES
    group     "animals-nature", ..., "faces"
    names     in English, the usual one first
    tags      what it has to do with: "ocean" for an octopus
    chinese   its names in Chinese
    parts     of a face, in the order in which a caption names them: "a beard", "round glasses"
    weight    how often it is drawn, beside 1
    """

    thing: str
    style: str
    group: str
    names: tuple[str, ...]
    tags: tuple[str, ...] = ()
    chinese: tuple[str, ...] = ()
    parts: tuple[str, ...] = ()
    weight: float = 1.0


class Collection:
    """pictures (N, S, S, 4) uint8 and what they show, N entries. `digest`: of all of it."""

    def __init__(self, pictures: Pixels, entries: Sequence[Entry], digest: str) -> None:
        self.pictures, self.entries, self.digest = pictures, tuple(entries), digest
        pairs = {(entry.thing, entry.style) for entry in self.entries}
        styles = Counter(thing for thing, _ in pairs)
        self.held_out = tuple(
            enough_is_left(entry, styles[entry.thing]) and _set_aside(entry)
            for entry in self.entries
        )

    def __len__(self) -> int:
        return len(self.entries)


def enough_is_left(entry: Entry, styles: int) -> bool:
    """Whether a thing that is there in so many styles is known without this one."""
    return len(entry.parts) >= PARTS_TO_HOLD_OUT if entry.parts else styles >= STYLES_TO_HOLD_OUT


def _set_aside(entry: Entry) -> bool:
    digest = hashlib.sha256(f"{entry.thing}|{entry.style}".encode()).digest()
    return int.from_bytes(digest[:4], "big") < HELD_OUT * 2**32


def _entry(row: dict[str, Any]) -> Entry:
    """The inverse of `asdict`, whose tuples JSON has as lists."""
    values: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in row.items()
    }
    return Entry(**values)


def save(path: Path, pictures: Sequence[Pixels], entries: Sequence[Entry]) -> None:
    """Writes a collection. ValueError unless every picture has an entry, and there is one."""
    if len(pictures) != len(entries) or not entries:
        raise ValueError(f"{len(pictures)} pictures need as many entries, not {len(entries)}")
    stacked = np.stack(pictures)
    told = json.dumps([asdict(entry) for entry in entries], ensure_ascii=False)
    digest = hashlib.sha256(stacked.tobytes() + told.encode()).hexdigest()
    with replacing(path) as temporary:
        metadata = {"entries": told, "digest": digest}
        save_file({"pictures": torch.from_numpy(stacked)}, temporary, metadata)


def load(path: str | Path) -> Collection:
    """The inverse of `save`; pixels are read when they are used. ValueError for another file."""
    try:
        with safe_open(path, "pt") as file:
            kept = file.metadata()
            pictures = file.get_tensor("pictures").numpy()
            rows = json.loads(kept["entries"])
            digest = kept["digest"]
        entries = [_entry(row) for row in rows]
        count, height, width, channels = pictures.shape
        if (count, height, channels) != (len(entries), width, 4) or pictures.dtype != np.uint8:
            raise ValueError(f"its pictures are {pictures.shape} {pictures.dtype}")
    except FileNotFoundError:
        raise ValueError(
            f"there is no file {str(path)!r}: scripts/build_pictures.py makes it"
        ) from None
    except (SafetensorError, KeyError, TypeError, ValueError, OSError, AttributeError) as error:
        what = str(error).partition("\n")[0][:200]
        raise ValueError(f"{str(path)!r} is no collection of pictures: {what}") from None
    return Collection(pictures, entries, digest)
