"""How a picture was made, in the text of its file: written here, and read from here and from other
programs."""

from pathlib import Path

from .image_metadata import ImageMetadata
from .writing import texts

__all__ = ["ImageMetadata", "read_metadata", "texts"]


def read_metadata(path: str | Path) -> ImageMetadata:
    """What a PNG, JPEG or WebP file of this library, of ComfyUI or of AUTOMATIC1111's web UI says
    about its making.

    ValueError: the file is no picture, says nothing, or something that cannot be understood.
    """
    from .reading import read_file  # the readers are only imported where there is something to read

    return read_file(Path(path))
