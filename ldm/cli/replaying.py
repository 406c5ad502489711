"""replay: pictures made again from what their files say."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import replace
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING

from ..metadata import Origin, read_origin
from ..pipeline import LatentDiffusion
from ..request import Request, kinds
from .drawing import draw_batch, open_model
from .folder import Folder
from .ranks import ranks
from .showing import lost

if TYPE_CHECKING:
    from PIL.Image import Image


def replay(options: argparse.Namespace) -> None:
    """Make the picture of each file again; flags that are given replace what it says."""
    changes = {name: getattr(options, name) for name in kinds() if hasattr(options, name)}
    origins = [(path, read_origin(path)) for path in options.files]
    folder, model = Folder(options.outdir), open_model(options)
    wanted = [settled(model, path, replace(origin.request, **changes)) for path, origin in origins]
    starts = accumulate((len(request.kept(range(request.total))) for request in wanted), initial=0)
    with ranks() as team:
        folder = team.agree(folder)
        for start, (path, origin), request in team.share(list(zip(starts, origins, wanted))):
            print("\n  ".join([f"{path}: made by {origin.program}", *another_model(origin, model), *lost(origin)]))
            for i, (picture, its) in enumerate(drawn(model, request, start, folder, options), start):
                print(folder.save(i, picture, model.metadata(its)))


def settled(model: LatentDiffusion, path: Path, request: Request) -> Request:
    """What a file asks for, with every default; what is wrong with it is said of the file."""
    try:
        return model.settle(request)[0]
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def another_model(origin: Origin, model: LatentDiffusion) -> list[str]:
    """A line, if a file names a model that is not the one at hand."""
    if origin.model is None:
        return []
    name = origin.model.replace("\\", "/").rpartition("/")[2].removesuffix(".safetensors").removesuffix(".ckpt")
    return [] if name == model.name else [f"not honoured: the model {origin.model}, in place of which is {model.name}"]


def drawn(
    model: LatentDiffusion, request: Request, start: int, folder: Folder, options: argparse.Namespace
) -> Iterator[tuple[Image, Request]]:
    """The pictures of a settled request, each with the request that makes it again. start: the number of the first."""
    pairs: list[tuple[Image, Request]] = []
    for part in request.split(model.batch_size(request)):
        pictures, _ = draw_batch(model, part, start + len(pairs), folder, model.decode, options, quiet=False)
        pairs += zip(pictures, model.singles(part))
    yield from request.kept(pairs)
