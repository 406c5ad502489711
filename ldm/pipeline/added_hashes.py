"""Which files were added to the model for a picture, in the words of AUTOMATIC1111's web UI:

    Lora hashes: "fur: 0123456789ab", TI hashes: "ink: 0123456789ab"

12 digits: of a LoRA in safetensors the sha256 of the file without its header (that its trainer
wrote into the header goes first), of any other LoRA and of an embedding that of the whole file.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from ..models.lora.file import Lora
from ..request import Request
from ..runtime.formats import named
from ..runtime.hashes import autov3, computed

if TYPE_CHECKING:
    from .job import Job
    from .model import LatentDiffusion


def about_added(model: LatentDiffusion, job: Job, request: Request) -> str | Mapping[str, str]:
    """What a picture's metadata say of its model, of its number format if that is not float32, and
    of what is added to it. request: that of the picture, resolved"""
    about = model.about
    said = {} if model.dtype == torch.float32 else {"Dtype": named(model.dtype)}
    for addition in job.additions:
        if found := addition.files(model, request):
            names = {name.replace(":", "").replace(",", ""): x for name, x in found.items()}
            said[addition.setting] = ", ".join(f"{name}: {x}" for name, x in names.items())
    if not said:
        return about
    return {**({"Model": about} if isinstance(about, str) else about), **said}


def digits_of(lora: Lora) -> str:
    said = lora.metadata.get("sshs_model_hash", "")[:12]
    if len(said) == 12 and said.isalnum():
        return said
    return of_file(lora.path, lora.path.stat().st_mtime_ns)


@lru_cache(maxsize=64)
def of_file(path: Path, _: int) -> str:
    return autov3(path) if path.suffix == ".safetensors" else computed(path)[:12]


def other_files(said: Mapping[str, str], model: LatentDiffusion, job: Job) -> Iterator[str]:
    """A line for each file at hand that is another than that of a picture. said: the settings in
    its text, by their names"""
    for addition in job.additions:
        own, what = addition.files(model, job.request), addition.called.removesuffix("s")
        for name, digits in parsed(said.get(addition.setting, "")).items():
            if name in own and own[name] != digits:
                yield f"not honoured: {what} {name}, {digits}: the file at hand is {own[name]}"


def parsed(text: str) -> dict[str, str]:
    """
    >>> parsed("fur: 0123, ink: 4567")
    {'fur': '0123', 'ink': '4567'}
    """
    pairs = (part.rpartition(":") for part in text.split(","))
    return {name.strip(): digits.strip() for name, colon, digits in pairs if colon}
