"""What flags may ask for beyond the pictures of one prompt, whose seeds follow one another."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import product
from typing import TYPE_CHECKING, Any

from ..images.depth import open_depth
from ..images.files import open_image
from ..images.masks import to_mask
from ..pipeline import LatentDiffusion
from ..request import Request
from .help import DEFAULTS
from .lines import masked_pictures, read_lines
from .values import Axis

if TYPE_CHECKING:
    from PIL.Image import Image


def many(options: argparse.Namespace, base: Mapping[str, Any]) -> list[Request]:
    """The pictures of --from-file, --indir, --vary and --fixed_code. base: what all of them share,
    unless a line or a point says otherwise."""
    if len(options.vary) > 2:
        raise ValueError(f"--vary is given {len(options.vary)} times: a grid has two directions")
    lines: list[dict[str, Any]] = [{}] * options.n_samples
    if options.from_file is not None:
        lines = read_lines(options.from_file, from_image=options.command != "txt2img")
    elif options.indir is not None:
        lines = masked_pictures(options.indir)
    fixed = options.n_samples if options.fixed_code else None
    return pictures(base, lines, options.n_iter, fixed, options.vary)


def open_files(requests: Sequence[Request]) -> tuple[dict[str, Image], dict[str, Image]]:
    """The pictures and the masks that requests name, each opened once."""
    images = {one.image for one in requests if one.image is not None}
    masks = {one.mask for one in requests if one.mask is not None}
    for depth in {one.depth for one in requests if one.depth is not None}:
        open_depth(depth)  # now, and not when the model has been loaded
    return {path: open_image(path) for path in images}, {
        path: open_image(path, to_mask) for path in masks
    }


def suited(
    options: argparse.Namespace, model: LatentDiffusion, requests: list[Request]
) -> list[Request]:
    """The requests, with what only the command and the model together say: the guidance of
    CompVis's img2img.py, for its models, and no prompt for those that vary a picture. An error,
    if the command is for other models."""
    if options.command == "depth2img" and "depth" not in model.family.conditioning:
        raise ValueError(
            f"depth2img takes a model that is told depth, such as stable-diffusion-2-depth, and "
            f"{model.name} is not: give one with --ckpt, or use img2img"
        )
    if "image_embedding" in model.family.conditioning and not hasattr(options, "prompt"):
        unsaid = DEFAULTS.get(options.command, {}).get("prompt")  # the picture says enough
        requests = [replace(one, prompt="") if one.prompt == unsaid else one for one in requests]
    if options.command == "img2img" and options.ckpt is not None:
        return [one.filled(guidance_scale=model.family.img2img_scale) for one in requests]
    return requests


def needed(command: str, picture: Request) -> None:
    """An error if a command has not got what it works on."""
    if command == "depth2img" and picture.image is None and picture.depth is None:
        raise ValueError("give the picture whose depth is kept: --init-img FILE, or --depth FILE")
    if command not in ("txt2img", "depth2img") and picture.image is None:
        raise ValueError("give the picture to start from: --init-img FILE")
    if command == "inpaint" and picture.mask is None:
        raise ValueError("give what is to be inpainted, in white: --mask FILE")
    if command == "outpaint" and not any(
        (picture.left, picture.right, picture.top, picture.bottom)
    ):
        raise ValueError("say where to go on, in pixels: --left N, --right N, --top N, --bottom N")


def fitting(options: argparse.Namespace, model: LatentDiffusion) -> None:
    """An error if the model's latents are not what --C and --f say."""
    channels, factor = model.vae.config.latent_channels, model.vae.factor
    for flag, given, own in (("--C", options.C, channels), ("--f", options.f, factor)):
        if given not in (None, own):
            raise ValueError(
                f"{flag} {given} does not fit the model {model.name}, which has {own}: leave it out"
            )


def named_sampler(options: argparse.Namespace, given: dict[str, Any]) -> dict[str, Any]:
    """What --plms and --dpm_solver stand for."""
    if options.plms + options.dpm_solver + ("sampler" in given) > 1:
        raise ValueError("give one of --sampler, --plms and --dpm_solver")
    if options.plms:
        return {"sampler": "plms"}
    return {"sampler": "dpm_solver"} if options.dpm_solver else {}


def pictures(
    base: Mapping[str, Any],
    lines: Sequence[Mapping[str, Any]],
    iterations: int,
    fixed: int | None = None,
    axes: Sequence[Axis] = (),
) -> list[Request]:
    """A picture for each of the lines, `iterations` times over; and all that for each point of the
    axes.

    base   fields of Request that all share;  lines  what each of them adds or changes
    fixed  None: each picture takes the next seed. A number: the first takes the first seed again
           after so many lines, and in each iteration.
    axes   the first one is walked fastest
    """
    made = []
    for point in product(
        *([(axis.field, value) for value in axis.values] for axis in reversed(axes))
    ):
        shared = {"seed": Request.seed} | dict(base) | dict(point)
        for i, (j, line) in product(range(iterations), enumerate(lines)):
            place = i * len(lines) + j if fixed is None else j % fixed
            again = i if fixed is None else 0
            seed = line["seed"] + again if "seed" in line else shared["seed"] + place
            made.append(Request(**(shared | dict(line) | {"seed": seed})))
    return made
