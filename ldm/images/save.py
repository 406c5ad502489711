"""A picture that was drawn, or any of PIL's, as a file by itself."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from ..runtime.files import replacing
from .saving import file_options

if TYPE_CHECKING:
    from PIL.Image import Image


def save_image(path: str | Path, image: Image, text: Mapping[str, str] | None = None) -> None:
    """Save a picture whole or not at all, see `write_image`. text: None for what a picture that was
    drawn knows of its making (`image.info`)."""
    if text is None:
        text = {key: image.info[key] for key in ("parameters", "ldm") if key in image.info}
    with replacing(Path(path)) as temporary:
        image.save(temporary, **file_options(Path(path), text))
