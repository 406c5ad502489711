"""The commands that draw: from flags to pictures."""

from __future__ import annotations

import argparse
import os
from typing import Any

from ..pipeline import LatentDiffusion, load
from ..pipeline.batches import draw as events
from ..pipeline.batches import plan
from ..pipeline.merging import merged
from ..pipeline.passes import check
from ..request import Request
from ..runtime.checks import kinds
from ..runtime.device import choose_device
from ..runtime.distributed import own_gpu
from .help import DEFAULTS
from .lines import names_in
from .output import Output
from .requests import fitting, many, named_sampler, needed, open_files, suited


def draw(options: argparse.Namespace) -> None:
    """txt2img, img2img, inpaint, outpaint and upscale: resolve, load, loop, save."""
    requests = requested(options)
    files = open_files(requests) if options.command != "txt2img" else ()
    output = Output(options, () if options.indir is None else names_in(requests))
    model = open_model(options)
    if options.command != "txt2img":
        requests = suited(options, model, requests)
    jobs = plan(model, requests, options.n_samples, *files)
    for job in output.batches(model, jobs):
        for event in events(model, job, output.preview_every, output.look):
            output.take(event)


def requested(options: argparse.Namespace) -> list[Request]:
    """The pictures that the flags ask for, one request each, in the order in which they are
    numbered. n_iter and n_samples are filled in."""
    for count, default in (("n_iter", options.iterations), ("n_samples", options.samples)):
        if getattr(options, count) is None:
            setattr(options, count, 1 if options.vary else default)
    shared = shared_fields(options)
    if options.from_file or options.indir or options.vary or options.fixed_code:
        made = many(options, shared)
    else:
        first = shared.pop("seed", Request.seed)
        seeds = range(first, first + options.n_iter * options.n_samples)
        made = [Request(**shared, seed=seed) for seed in seeds]
    for picture in merged(made, len(made)) if len(made) > 1 else made:
        check(picture)
        if options.command != "txt2img":
            needed(options.command, picture)
    return made


def shared_fields(options: argparse.Namespace) -> dict[str, Any]:
    """The fields of Request that the command line gives. What it leaves open becomes the model's
    default: CompVis's, for its models."""
    if options.laion400m:
        raise ValueError("--laion400m asks for the model text2img-large, which is not supported")
    given = {name: getattr(options, name) for name in kinds(Request) if hasattr(options, name)}
    if options.plms or options.dpm_solver:
        given |= named_sampler(options, given)
    return DEFAULTS.get(options.command, {}) | given


def open_model(options: argparse.Namespace) -> LatentDiffusion:
    """The model that the flags ask for, where they say."""
    device = choose_device(options.device)
    if "LOCAL_RANK" in os.environ:
        device = own_gpu(device)
    dtype = options.dtype or ("float32" if options.precision == "full" else None)
    told = "ema", "family", "prediction", "vae", "fast", "ram", "vram", "compile"
    model = load(options.ckpt, device, dtype, *(getattr(options, name) for name in told))
    if options.C is not None or options.f is not None:
        fitting(options, model)
    return model
