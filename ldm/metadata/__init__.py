"""How a picture was made, in the text of its file: written here, and read from here and from other programs."""

from collections.abc import Mapping
from pathlib import Path

from ..images import read_text
from ..request import Request
from . import a1111, comfyui
from .origin import Origin

__all__ = ["Origin", "read_origin", "texts"]


def texts(request: Request, model: str) -> dict[str, str]:
    """What the file of a picture should keep: the settled request as JSON, and what the web UIs read."""
    return {"parameters": a1111.write(request, model), "ldm": request.to_json()}


def own(text: Mapping[str, str]) -> Origin:
    """What this library wrote: the request itself."""
    _, _, settings = a1111.split(text.get("parameters", ""))
    return Origin("ldm", Request.from_json(text["ldm"]), settings.get("Model"), {})


READERS = {  # by the key of the text, the best first
    "ldm": own,
    "prompt": comfyui.read,
    "parameters": a1111.read,
    "workflow": comfyui.read,
}


def read_origin(path: str | Path) -> Origin:
    """What a PNG, JPEG or WebP file of this library, of ComfyUI or of AUTOMATIC1111's web UI says about its making.

    ValueError: the file is no picture, says nothing, or something that cannot be understood.
    """
    text = read_text(path)
    for key, read in READERS.items():
        if key in text:
            try:
                return read(text)
            except ValueError as error:
                raise ValueError(f"what {str(path)!r} says about its making cannot be understood: {error}") from None
    raise ValueError(f"{str(path)!r} says nothing about its making: it has no text of ldm, ComfyUI or AUTOMATIC1111")
