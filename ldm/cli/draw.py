"""The commands that draw: from flags to pictures."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from ..images.files import open_image
from ..images.masks import to_mask
from ..pipeline import Job, LatentDiffusion, load
from ..pipeline.batches import draw as events
from ..pipeline.batches import plan
from ..pipeline.pause import Paused, read_paused
from ..request import Request
from ..runtime.device import choose_device, choose_dtype
from .distributed import own_gpu
from .output import Output
from .printing import say
from .requests import requested

if TYPE_CHECKING:
    from PIL.Image import Image


def draw(options: argparse.Namespace) -> None:
    """txt2img, img2img, inpaint, outpaint and upscale: resolve, load, loop, save."""
    requests = requested(options)
    files = open_files(requests)
    output = Output(options, names(options, requests))
    model = open_model(options)
    jobs = plan(model, requests, options.n_samples, *files)
    for job in output.batches(model, jobs):
        for event in events(model, job, output.preview_every, output.look):
            output.take(event)


def resume(options: argparse.Namespace) -> None:
    """Go on with what was left by --pause_after, to the pictures."""
    output, model = Output(options), open_model(options)
    left = {path: read_paused(path) for path in options.files}
    jobs = [resumed(model, path, paused) for path, paused in left.items()]
    records = [paused.record for paused in left.values()]
    for job in output.batches(model, jobs):
        for event in events(model, job, record=records[jobs.index(job)]):
            output.take(event)


def open_files(requests: Sequence[Request]) -> tuple[dict[str, Image], dict[str, Image]]:
    """The pictures and the masks that requests name, each opened once."""
    images = {one.image for one in requests if one.image is not None}
    masks = {one.mask for one in requests if one.mask is not None}
    return {path: open_image(path) for path in images}, {
        path: open_image(path, to_mask) for path in masks
    }


def resumed(model: LatentDiffusion, path: Path, paused: Paused) -> Job:
    if paused.model != model.name:
        raise ValueError(
            f"{path} was begun by the model {paused.model}, not {model.name}: give that one with "
            "--ckpt"
        )
    request = paused.request  # may come from anybody: no file that it names is opened
    held = {"image": paused.image, "mask": paused.mask, "wildcards": None}
    if lacking := [n for n in held if getattr(request, n) is not None and held[n] is None]:
        raise ValueError(f"{path} names files and does not hold them: {', '.join(lacking)}")
    return model.resolve(request, paused.image, paused.mask)


def names(options: argparse.Namespace, requests: Sequence[Request]) -> Sequence[str]:
    """What the files are called, where pictures of a folder are worked on: as they are there."""
    if options.indir is None:
        return ()
    found = [Path(str(request.image)).name for request in requests]
    return found if len(set(found)) == len(found) else ()


def open_model(options: argparse.Namespace) -> LatentDiffusion:
    """The model, after a line that says where and in what numbers it will compute."""
    device = own_gpu(choose_device(options.device))
    full = options.precision == "full" and options.dtype is None
    name = "float32" if full else options.dtype
    dtype, why = choose_dtype(device, None if name is None else getattr(torch, name))
    say(f"device {device}, {str(dtype).removeprefix('torch.')}: {why}")
    if options.config is not None:
        say("--config is not read: a checkpoint says itself what it is")
    model = load(options.ckpt, device, dtype, options.ema, options.family)
    channels, factor = model.vae.config.latent_channels, model.vae.factor
    for flag, given, own in (("--C", options.C, channels), ("--f", options.f, factor)):
        if given not in (None, own):
            raise ValueError(
                f"{flag} {given} does not fit the model {model.name}, which has {own}: leave it out"
            )
    return model
