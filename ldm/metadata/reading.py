"""Which program wrote the text of a picture's file, and what it says."""

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from ..images.files import opened, read_text
from ..request import Request
from . import a1111, comfyui, infotext
from .added import by_names
from .graph import is_graph
from .image_metadata import ANOTHER_VAE, ImageMetadata, shortened
from .programs import program_of_json, program_of_texts

Text = Mapping[str, str]


def own(text: Text) -> ImageMetadata:
    """What this library wrote: the request itself."""
    _, _, settings = infotext.split(text.get("parameters", ""))
    vae = {"VAE": f"{shortened(settings['VAE'])}: {ANOTHER_VAE}"} if "VAE" in settings else {}
    request = by_names(Request.from_json(text["ldm"]))
    return ImageMetadata("ldm", request, settings.get("Model"), vae)


def parameters(text: Text) -> ImageMetadata:
    """AUTOMATIC1111's text, or JSON that others write in its place."""
    return from_json(text["parameters"]) or a1111.read(text)


def comment(text: Text) -> ImageMetadata | None:
    """A comment without AUTOMATIC1111's settings: JSON, or some words of a camera's or a user's."""
    return from_json(text["UserComment"])


def from_json(text: str) -> ImageMetadata | None:
    """What a text that is a JSON object says: a graph of ComfyUI's. None for any other text."""
    if not text.lstrip().startswith("{"):
        return None
    try:
        values = json.loads(text)
    except ValueError:
        return None  # a prompt may begin with a bracket
    except RecursionError:
        raise ValueError("it is JSON, with too many lists in lists") from None
    for graph in (values, values.get("prompt")):
        if is_graph(graph):
            return comfyui.read({"prompt": json.dumps(graph)})
    raise ValueError(f"it is JSON of {program_of_json(values)}, which cannot be read")


READERS: dict[str, Callable[[Text], ImageMetadata | None]] = {  # by key of the text, the best first
    "ldm": own,
    "prompt": comfyui.read,
    "parameters": parameters,
    "UserComment": comment,
    "workflow": comfyui.read,
}


def read_file(path: Path) -> ImageMetadata:
    """See `read_metadata`."""
    text = read_text(path)
    problems = []
    for key, read in READERS.items():
        if not text.get(key, "").strip():
            continue
        try:
            if (found := read(text)) is not None:
                return with_changes(found, text, path)
        except ValueError as error:
            problems.append(str(error))
    if (program := program_of_texts(text)) is not None:
        problems.insert(0, f"it is text of {program}, which cannot be read")
    if problems:
        what = f"what {str(path)!r} says about its making cannot be understood"
        raise ValueError(f"{what}: {problems[0]}")
    programs = "ldm, ComfyUI or AUTOMATIC1111"
    raise ValueError(f"{str(path)!r} says nothing about its making: it has no text of {programs}")


def with_changes(found: ImageMetadata, text: Text, path: Path) -> ImageMetadata:
    """The same, and what was done to the picture afterwards: the web UI's Extras, another size."""
    request, unsupported = found.request, dict(found.unsupported)
    for key in ("extras", "postprocessing"):
        if key in text:
            unsupported[key] = f"{shortened(text[key])}: it was changed after it was drawn"
    if found.program == "ldm" or request.strength is not None:
        return replace(found, unsupported=unsupported)
    with opened(path) as image:
        size = image.size
    drawn = [
        round(side * (request.hires or 1)) for side in (request.width or 0, request.height or 0)
    ]
    if min(drawn) > 0 and max(abs(here - there) for here, there in zip(drawn, size)) > 8:
        ours = f"{drawn[0]} x {drawn[1]}"
        unsupported["size"] = f"the file is {size[0]} x {size[1]}, and what is drawn {ours}"
    return replace(found, unsupported=unsupported)
