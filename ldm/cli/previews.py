"""What is saved beside the single pictures: how they emerge, and all of them in one."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

from torch import Tensor

from ..images.save import save_image
from ..images.sheets import grid, labelled_grid, save_gif
from ..models.weights.vae import tiny_preview
from ..pipeline import LatentDiffusion
from ..pipeline.events import Preview
from ..pipeline.job import multiple
from ..vae.preview import linear_preview
from .folder import Folder

if TYPE_CHECKING:
    from pathlib import Path

    from PIL.Image import Image


def fast(model: LatentDiffusion, options: argparse.Namespace) -> Callable[[Tensor], Tensor]:
    """How the model's latents are looked at fast: --preview linear, or taesd."""
    if options.preview == "taesd":
        if options.taesd is None:
            raise ValueError("--preview taesd needs a tiny autoencoder: give it with --taesd PATH")
        return tiny_preview(options.taesd, model.family, model.device)
    side = multiple(model.family)
    return linear_preview(model.encode, model.decode, -(-128 // side) * side)


class Emerging:
    """How pictures emerge: previews after every few steps, and what these make, an animation."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.animates, self.saves = options.animate, options.preview_every is not None
        self.every = options.preview_every or 1
        self.frames: dict[int, list[Image]] = {}  # of pictures by their numbers

    def take(self, folder: Folder, start: int, event: Preview) -> None:
        """previews/00000-001.png ...; start: the number of the first picture of the batch."""
        number = start + event.index
        self.frames.setdefault(number, []).append(event.image)
        if self.saves:
            write = partial(save_image, image=event.image)
            folder.save_numbered(number, f"previews/{{:05}}-{event.steps:03}.png", write)

    def animation(self, folder: Folder, number: int, finished: Image) -> Path:
        """animations/00000.gif ..."""
        write = partial(save_gif, frames=[*self.frames.pop(number, []), finished])
        return folder.save_numbered(number, "animations/{:05}.gif", write)


def sheet(pictures: Sequence[Image], options: argparse.Namespace) -> Image:
    """All pictures in one: in rows, or in a grid over what was varied, whose cells have the
    pictures of a point."""
    columns = options.n_rows if options.n_rows > 0 else options.n_samples
    if not options.vary:
        return grid(pictures, columns)
    labels = [axis.labels for axis in options.vary]
    across, down = labels if len(labels) == 2 else (*labels, [""])
    each = len(pictures) // (len(across) * len(down))
    cells = [grid(pictures[i : i + each], columns) for i in range(0, len(pictures), each)]
    return labelled_grid(cells, across, down)
