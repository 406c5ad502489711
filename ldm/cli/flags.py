"""The flags of the commands that draw, and the requests that they make."""

import argparse
from dataclasses import fields
from pathlib import Path
from typing import Any

from ..plan import check
from ..request import Request, kinds
from .wanted import LineParser, axis, batches, pictures, read_lines

PROMPT = "a painting of a virus monster playing guitar"  # CompVis's default
SAMPLES = {"txt2img": (2, 3), "img2img": (1, 2)}  # CompVis's n_iter and n_samples; other commands make one picture
DEFAULTS: dict[str, dict[str, Any]] = {  # of a command, for fields of Request
    "txt2img": {"prompt": PROMPT},
    "img2img": {"prompt": PROMPT, "strength": 0.75},
    "inpaint": {},
    "outpaint": {},
    "upscale": {"enlarge": 2.0, "strength": 0.3},
}


def add_request_flags(parser: argparse.ArgumentParser, from_image: bool) -> None:
    """A flag for each field of Request. One that is not given leaves no trace in the options."""
    for f in fields(Request):
        kind, flags = kinds()[f.name], f.metadata["flags"]
        if flags and (from_image or not f.metadata["from_image"]):
            value: dict[str, Any] = {"action": "store_true"} if kind is bool else {"type": kind, "metavar": "X"}
            if f.metadata["bare"] is not None:
                value |= {"nargs": "?", "const": f.metadata["bare"]}
            parser.add_argument(*flags, dest=f.name, default=argparse.SUPPRESS, help=f.metadata["help"], **value)


def add_flags(parser: argparse.ArgumentParser, command: str) -> None:
    """The flags that say nothing about a single picture."""
    iterations, samples = SAMPLES.get(command, (1, 1))
    outdir = Path(f"outputs/{command}-samples")
    add = parser.add_argument
    add("--from-file", type=Path, metavar="FILE", help="a prompt on each line, with flags of its own behind it")
    add("--vary", type=axis, action="append", default=[], metavar="F=A,B", help="a grid over values of a flag; up to 2")
    add("--n_iter", type=positive, metavar="N", help=f"how often to sample ({iterations}; with --vary 1)")
    add("--n_samples", type=positive, metavar="N", help=f"how many at once ({samples}; with --vary 1)")
    add("--fixed_code", action="store_true", help="use the same seeds each time")
    add("--plms", action="store_true", help="means --sampler plms")
    add("--dpm_solver", action="store_true", help="means --sampler dpmpp_2m --schedule uniform")
    add("--outdir", type=Path, default=outdir, metavar="DIR", help="where the pictures go (%(default)s)")
    add("--format", choices=("png", "webp", "jpg"), default="png", help="of single pictures; jpg loses a little")
    add("--skip_save", action="store_true", help="do not save single pictures")
    add("--skip_grid", action="store_true", help="do not save a grid of all pictures")
    add("--n_rows", type=int, default=0, metavar="N", help="pictures in a row of the grid (as n_samples)")
    add("--preview_every", type=positive, metavar="K", help="save the emerging pictures after every K-th step")
    add("--animate", action="store_true", help="save how each picture emerges as a GIF")
    add("--preview", choices=("vae", "linear"), default="vae", help="how these are decoded; linear is fast")
    add("--dry_run", action="store_true", help="say what would be done, and do nothing")
    add(
        "--pause_after", type=positive, metavar="K", help="stop after K steps, in a file that `ldm resume` goes on from"
    )
    add("--laion400m", action="store_true", help="is refused: that is another model")
    add_model_flags(parser)
    if command == "inpaint":
        add(
            "--indir", type=Path, metavar="DIR", help="repaint each x.png in it that has an x_mask.png, to outdir/x.png"
        )
    parser.set_defaults(iterations=iterations, samples=samples, indir=None)


def add_model_flags(parser: argparse.ArgumentParser) -> None:
    """Which model, and how it computes."""
    add = parser.add_argument
    add("--ckpt", type=Path, metavar="PATH", help="a checkpoint or a diffusers folder (the built-in model)")
    add("--ema", action=argparse.BooleanOptionalAction, help="use the averaged weights (if there are any)")
    add("--device", help="cpu, cuda, cuda:1 or mps (the best there is)")
    add("--dtype", choices=("float32", "float16", "bfloat16"), help="of the networks (what suits the device)")
    add("--precision", choices=("full", "autocast"), default="autocast", help="full means --dtype float32")
    add("--config", metavar="FILE", help="is not read: a checkpoint says itself what it is")
    add("--C", type=int, metavar="N", help="is checked: the channels of a latent")
    add("--f", type=int, metavar="N", help="is checked: how much smaller a latent is than a picture, often 8")


def positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number} is too few")
    return number


def requested(options: argparse.Namespace) -> list[Request]:
    """The pictures that the flags ask for. What they leave open becomes the model's default: CompVis's, for its models.

    n_iter and n_samples are filled in.
    """
    if len(options.vary) > 2:
        raise ValueError(f"--vary is given {len(options.vary)} times: a grid has two directions")
    for count, default in (("n_iter", options.iterations), ("n_samples", options.samples)):
        if getattr(options, count) is None:
            setattr(options, count, 1 if options.vary else default)
    base = shared_fields(options)
    if options.from_file is None:
        lines: list[dict[str, Any]] = [{}] * options.n_samples if options.indir is None else pairs(options.indir)
    else:
        parser = LineParser(add_help=False, allow_abbrev=False)
        add_request_flags(parser, from_image=options.command != "txt2img")
        lines = read_lines(options.from_file, parser)
    made = pictures(base, lines, options.n_iter, options.n_samples if options.fixed_code else None, options.vary)
    for picture in batches(made, len(made)):
        check(picture)
        needed(options.command, picture)
    return made


def shared_fields(options: argparse.Namespace) -> dict[str, Any]:
    """The fields of Request that the command line gives."""
    if options.laion400m:
        raise ValueError("--laion400m asks for the model text2img-large, which is not supported")
    given = {name: getattr(options, name) for name in kinds() if hasattr(options, name)}
    given |= named_sampler(options, given)
    if options.command == "img2img" and options.ckpt is not None:
        given = {"scale": 5.0} | given
    return DEFAULTS[options.command] | given


def needed(command: str, picture: Request) -> None:
    """An error if a command has not got what it works on."""
    if command != "txt2img" and picture.image is None:
        raise ValueError("give the picture to start from: --init-img FILE")
    if command == "inpaint" and picture.mask is None:
        raise ValueError("give what is to be repainted, in white: --mask FILE")
    if command == "outpaint" and not any((picture.left, picture.right, picture.top, picture.bottom)):
        raise ValueError("say where to go on, in pixels: --left N, --right N, --top N, --bottom N")


def pairs(folder: Path) -> list[dict[str, Any]]:
    """The pictures in a folder that have a mask beside them, as CompVis's inpaint.py finds them."""
    masks = sorted(folder.glob("*_mask.png"))
    if not masks:
        raise ValueError(f"--indir {folder} has no pictures with masks: put x.png and x_mask.png there")
    return [{"image": str(mask).removesuffix("_mask.png") + ".png", "mask": str(mask)} for mask in masks]


def named_sampler(options: argparse.Namespace, given: dict[str, Any]) -> dict[str, Any]:
    """What --plms and --dpm_solver stand for."""
    if options.plms + options.dpm_solver + ("sampler" in given) > 1:
        raise ValueError("give one of --sampler, --plms and --dpm_solver")
    if options.plms:
        return {"sampler": "plms"}
    return {"sampler": "dpmpp_2m", "schedule": given.get("schedule", "uniform")} if options.dpm_solver else {}
