"""Which pictures the flags ask for: one request each, in the order in which they are numbered."""

import argparse
from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

from ..pipeline.merging import merged
from ..pipeline.passes import check
from ..request import Request
from ..runtime.checks import kinds
from .flags import Axis
from .lines import masked_pictures, read_lines

PROMPT = "a painting of a virus monster playing guitar"  # CompVis's default
DEFAULTS: dict[str, dict[str, Any]] = {  # of a command, for fields of Request
    "txt2img": {"prompt": PROMPT},
    "img2img": {"prompt": PROMPT, "strength": 0.75},
    "inpaint": {},
    "outpaint": {},
    "upscale": {"upscale": 2.0, "strength": 0.3},
}


def requested(options: argparse.Namespace) -> list[Request]:
    """The pictures that the flags ask for. What they leave open becomes the model's default:
    CompVis's, for its models.

    n_iter and n_samples are filled in.
    """
    if len(options.vary) > 2:
        raise ValueError(f"--vary is given {len(options.vary)} times: a grid has two directions")
    for count, default in (("n_iter", options.iterations), ("n_samples", options.samples)):
        if getattr(options, count) is None:
            setattr(options, count, 1 if options.vary else default)
    base = shared_fields(options)
    lines: list[dict[str, Any]] = [{}] * options.n_samples
    if options.from_file is not None:
        lines = read_lines(options.from_file, from_image=options.command != "txt2img")
    elif options.indir is not None:
        lines = masked_pictures(options.indir)
    made = pictures(
        base, lines, options.n_iter, options.n_samples if options.fixed_code else None, options.vary
    )
    for picture in merged(made, len(made)) if len(made) > 1 else made:
        check(picture)
        needed(options.command, picture)
    return made


def shared_fields(options: argparse.Namespace) -> dict[str, Any]:
    """The fields of Request that the command line gives."""
    if options.laion400m:
        raise ValueError("--laion400m asks for the model text2img-large, which is not supported")
    given = {name: getattr(options, name) for name in kinds(Request) if hasattr(options, name)}
    given |= named_sampler(options, given)
    if options.command == "img2img" and options.ckpt is not None:
        given = {"guidance_scale": 5.0} | given
    return DEFAULTS[options.command] | given


def needed(command: str, picture: Request) -> None:
    """An error if a command has not got what it works on."""
    if command != "txt2img" and picture.image is None:
        raise ValueError("give the picture to start from: --init-img FILE")
    if command == "inpaint" and picture.mask is None:
        raise ValueError("give what is to be inpainted, in white: --mask FILE")
    if command == "outpaint" and not any(
        (picture.left, picture.right, picture.top, picture.bottom)
    ):
        raise ValueError("say where to go on, in pixels: --left N, --right N, --top N, --bottom N")


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
