"""What a picture keeps of the files that were added to its model: their names, as the web UI does.
Where they lie is nobody else's business, and no file is opened because a picture names it."""

from dataclasses import replace
from typing import Any

from ..request import Request
from ..request.additions import FOLDERS, TAGS, file_and_strengths, listed, name_of


def by_names(request: Request) -> Request:
    """The same with files by their names, and without folders."""
    own: dict[str, Any] = dict.fromkeys(FOLDERS)
    for field in TAGS:
        own[field] = tuple(named(entry) for entry in listed(getattr(request, field))) or None
    return replace(request, **own)


def named(entry: str) -> str:
    """An entry by the name of its file.

    >>> named("/home/me/fur.safetensors:0.8"), named("ink.pt:1:0.5")
    ('fur:0.8', 'ink:1:0.5')
    """
    file, unet, text = file_and_strengths(entry)
    return f"{name_of(file)}:{unet:g}" + (f":{text:g}" if text != unet else "")


def tagged(prompt: str, request: Request) -> str:
    """The prompt with the web UI's tags of what the request has beside it: the name, then the
    strengths for the text encoder and for the U-Net."""
    for field, tag in TAGS.items():
        for entry in listed(getattr(request, field)):
            file, unet, text = file_and_strengths(entry)
            prompt += f"<{tag}:{name_of(file)}:{text:g}" + (f":{unet:g}>" if unet != text else ">")
    return prompt
