"""replay: pictures made again from what their files say."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..images.files import read_text
from ..metadata import ImageMetadata, read_metadata
from ..metadata.infotext import split
from ..metadata.named_files import refuse_files
from ..pipeline import LatentDiffusion
from ..pipeline.added_hashes import other_files
from ..pipeline.batches import draw as events
from ..pipeline.batches import plan
from ..pipeline.job import Job
from ..request import Request
from ..runtime.checks import kinds
from ..runtime.formats import named
from .draw import open_model
from .output import Output, say
from .printing import printable
from .show import unsupported
from .values import KINDS

MANY = 1000  # more pictures than one of any program is drawn with


def replay(options: argparse.Namespace) -> None:
    """Make the picture of each file again; flags that are given replace what it says."""
    changes = {name: getattr(options, name) for name in kinds(Request) if hasattr(options, name)}
    if options.without_image and "image" in changes:
        raise ValueError("give --init-img or --without_image, not both")
    read = [read_metadata(path) for path in options.files]
    if options.without_image:
        read = [metadata.without_image() for metadata in read]
    output, model = Output(options), open_model(options)
    wanted = []
    for path, metadata in zip(options.files, read):
        jobs = planned(model, path, metadata.request, changes)
        lines = [*another_model(metadata, model), *other_numbers(metadata, path, model)]
        lines += unsupported(honoured(metadata, model))
        lines += [line for job in jobs[:1] for line in other_files(written(path), model, job)]
        wanted += [(job, path, metadata.program, lines) for job in jobs]
    jobs, said = [job for job, *_ in wanted], set()
    for job in output.batches(model, jobs):
        _, path, program, lines = wanted[jobs.index(job)]
        if path not in said:
            say(printable("\n  ".join([f"{path}: made by {program}", *lines])))
        said.add(path)
        output.folder.kind = options.format or kind_of(path)
        for event in events(model, job):
            output.take(event)


def written(path: Path) -> dict[str, str]:
    """The settings in the web UI's text of a file, by their names; none: it has no such text."""
    return split(read_text(path).get("parameters", ""))[2]


def kind_of(path: Path) -> str:
    """Of the file that a picture goes to whose metadata were in this one."""
    kind = path.suffix.lower().removeprefix(".").replace("jpeg", "jpg")
    return kind if kind in KINDS else "png"


def planned(
    model: LatentDiffusion, path: Path, request: Request, changes: dict[str, Any]
) -> list[Job]:
    """What a file asks for, in so many batches; see `refuse_files`."""
    held = {"lora"} if "lora_dir" in changes else set()  # by their names, see `metadata.added`
    refuse_files(path, request, changes, held, otherwise="--without_image to draw from noise")
    if request.total > MANY:
        raise ValueError(f"{path} asks for {request.total} pictures: {MANY} are the most of a file")
    if request.strength is not None and "image" not in changes:
        raise ValueError(
            f"{path} was made from a picture, at strength {request.strength:g}, which is not in "
            "the file: give it with --init-img, or draw from noise with --without_image"
        )
    try:
        return plan(model, [replace(request, **changes)], 16)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def honoured(metadata: ImageMetadata, model: LatentDiffusion) -> ImageMetadata:
    """The same without the name of a VAE, if it is that of the one at hand."""
    if isinstance(model.about, str) or "VAE" not in model.about.names:
        return metadata
    told = f"{model.about.names['VAE']}: "
    said = metadata.unsupported.items()
    left = {name: why for name, why in said if name != "VAE" or not why.startswith(told)}
    return replace(metadata, unsupported=left)


def other_numbers(metadata: ImageMetadata, path: Path, model: LatentDiffusion) -> list[str]:
    """A line, if a picture of this library's was drawn in another number format: it will be nearly
    the same."""
    was, now = written(path).get("Dtype", "float32")[:20], named(model.dtype)
    if metadata.program != "ldm" or was == now:
        return []
    return [
        f"not honoured: it was drawn in {was}, and is now in {now}: --dtype {was} does the same"
    ]


def another_model(metadata: ImageMetadata, model: LatentDiffusion) -> list[str]:
    """A line, if a file names a model that is not the one at hand."""
    if metadata.model is None:
        return []
    name = metadata.model.replace("\\", "/").rpartition("/")[2]
    if name.removesuffix(".safetensors").removesuffix(".ckpt") == model.name:
        return []
    return [f"not honoured: the model {metadata.model}, in place of which is {model.name}"]
