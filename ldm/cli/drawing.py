"""txt2img and img2img: from a request to files, with a bar of progress and a line that sums up."""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..device import choose_device, choose_dtype, peak_memory
from ..images import grid, open_image, to_pil
from ..pipeline import LatentDiffusion, load
from ..plan import noise_levels
from ..request import Request
from ..samplers import SAMPLERS
from .folder import Folder

if TYPE_CHECKING:
    from PIL.Image import Image


def draw(options: argparse.Namespace, request: Request) -> None:
    image = None if request.image is None else open_image(request.image)
    folder = Folder(options.outdir)
    model = open_model(options)
    request, start = model.settle(request, image)
    began, pictures = time.perf_counter(), []
    for part in batches(model, request, options):
        drawn, steps = draw_batch(model, part, start, folder, options.preview_every)
        for picture, its in zip(drawn, part.split(1)):
            if not options.skip_save:
                print(folder.save(picture, model.metadata(its)))
        if not options.skip_grid:
            pictures += drawn
    if not options.skip_grid:
        sheet = grid(pictures, options.n_rows if options.n_rows > 0 else options.n_samples)
        print(folder.save_grid(sheet, model.metadata(request)))
    print(
        f"{request.total} picture{'s' * (request.total > 1)} of {request.width} x {request.height} "
        f"by {model.name} ({model.family.name}): {request.sampler}, {request.schedule}, "
        f"{steps} of {request.steps} steps, scale {request.scale:g}, seed {request.seed}; "
        f"{time.perf_counter() - began:.1f} s, at most {peak_memory(model.device) / 1e9:.2f} GB"
    )


def open_model(options: argparse.Namespace) -> LatentDiffusion:
    """The model, after a line that says where and in what numbers it will compute."""
    device = choose_device(options.device)
    name = "float32" if options.precision == "full" and options.dtype is None else options.dtype
    dtype, why = choose_dtype(device, None if name is None else getattr(torch, name))
    print(f"device {device}, {str(dtype).removeprefix('torch.')}: {why}")
    if options.config is not None:
        print("--config is not read: a checkpoint says itself what it is")
    model = load(options.ckpt, device, dtype, options.ema)
    for flag, given, own in (("--C", options.C, model.unet.config.in_channels), ("--f", options.f, model.vae.factor)):
        if given not in (None, own):
            raise ValueError(f"{flag} {given} does not fit the model {model.name}, which has {own}: leave it out")
    return model


def batches(model: LatentDiffusion, request: Request, options: argparse.Namespace) -> Iterator[Request]:
    """n_samples pictures at once, or fewer if memory is short."""
    size = min(options.n_samples, model.batch_size(request))
    for part in request.split(options.n_samples):
        yield from (replace(part, seed=request.seed) if options.fixed_code else part).split(size)


def draw_batch(
    model: LatentDiffusion, request: Request, start: Tensor | None, folder: Folder, every: int | None
) -> tuple[list[Image], int]:
    """The pictures of a request, and how many steps they took; with previews after `every` so many steps."""
    from tqdm import tqdm

    planned = len(noise_levels(request, model.family)) - 1
    total = None if SAMPLERS[request.sampler].own_levels else max(planned, 1)
    what = f"seed {request.seed}" + (f" to {request.seed + request.total - 1}" if request.total > 1 else "")
    for step in tqdm(model.steps(request, start), what, total, dynamic_ncols=True):
        if every is not None and (step.index + 1) % every == 0:
            for i, preview in enumerate(to_pil(model.decode(step.denoised))):
                folder.save_preview(preview, i, step.index + 1)
    return model.pictures(step.x), step.index + 1 if planned else 0
