"""replay: pictures made again from what their files say."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from ..metadata import Origin, read_origin
from ..pipeline import LatentDiffusion
from ..request import Request, kinds
from .drawing import draw_batch, open_model
from .folder import Folder
from .showing import lost

if TYPE_CHECKING:
    from PIL.Image import Image


def replay(options: argparse.Namespace) -> None:
    """Make the picture of each file again; flags that are given replace what it says."""
    changes = {name: getattr(options, name) for name in kinds() if hasattr(options, name)}
    origins = [(path, read_origin(path)) for path in options.files]
    folder, model, made = Folder(options.outdir), open_model(options), 0
    for path, origin in origins:
        print("\n  ".join([f"{path}: made by {origin.program}", *another_model(origin, model), *lost(origin)]))
        for picture, its in drawn(model, replace(origin.request, **changes), made, folder, options):
            print(folder.save(made, picture, model.metadata(its)))
            made += 1


def another_model(origin: Origin, model: LatentDiffusion) -> list[str]:
    """A line, if a file names a model that is not the one at hand."""
    if origin.model is None:
        return []
    name = origin.model.replace("\\", "/").rpartition("/")[2].removesuffix(".safetensors").removesuffix(".ckpt")
    return [] if name == model.name else [f"not honoured: the model {origin.model}, in place of which is {model.name}"]


def drawn(
    model: LatentDiffusion, request: Request, start: int, folder: Folder, options: argparse.Namespace
) -> Iterator[tuple[Image, Request]]:
    """The pictures of a request, each with the request that makes it again. start: how many there are already."""
    settled, _ = model.settle(request)
    pairs: list[tuple[Image, Request]] = []
    for part in settled.split(model.batch_size(settled)):
        pictures, _ = draw_batch(model, part, start + len(pairs), folder, model.decode, options, quiet=False)
        pairs += zip(pictures, model.singles(part))
    yield from pairs if settled.only is None else [pairs[settled.only]]
