"""The flags of the commands that draw, and the request that they make."""

import argparse
from dataclasses import fields
from pathlib import Path
from typing import Any

from ..plan import check
from ..request import Request, kinds

PROMPT = "a painting of a virus monster playing guitar"  # CompVis's default


def add_request_flags(parser: argparse.ArgumentParser, from_image: bool) -> None:
    """A flag for each field of Request. One that is not given leaves no trace in the options."""
    for f in fields(Request):
        kind, flags = kinds()[f.name], f.metadata["flags"]
        if flags and (from_image or not f.metadata["from_image"]):
            value: dict[str, Any] = {"action": "store_true"} if kind is bool else {"type": kind, "metavar": "X"}
            parser.add_argument(*flags, dest=f.name, default=argparse.SUPPRESS, help=f.metadata["help"], **value)


def add_flags(parser: argparse.ArgumentParser, command: str) -> None:
    """The flags that say nothing about the picture itself."""
    iterations, samples = (2, 3) if command == "txt2img" else (1, 2)
    outdir = Path(f"outputs/{command}-samples")
    add = parser.add_argument
    add("--from-file", type=Path, metavar="FILE", help="take a prompt from each line of a file")
    add("--n_iter", type=positive, default=iterations, metavar="N", help="how often to sample (%(default)s)")
    add("--n_samples", type=positive, default=samples, metavar="N", help="how many at once (%(default)s)")
    add("--fixed_code", action="store_true", help="use the same seeds each time")
    add("--plms", action="store_true", help="means --sampler plms")
    add("--dpm_solver", action="store_true", help="means --sampler dpmpp_2m --schedule uniform")
    add("--outdir", type=Path, default=outdir, metavar="DIR", help="where the pictures go (%(default)s)")
    add("--skip_save", action="store_true", help="do not save single pictures")
    add("--skip_grid", action="store_true", help="do not save a grid of all pictures")
    add("--n_rows", type=int, default=0, metavar="N", help="pictures in a row of the grid (as n_samples)")
    add("--preview_every", type=positive, metavar="K", help="save the emerging pictures after every K-th step")
    add("--ckpt", type=Path, metavar="PATH", help="a checkpoint or a diffusers folder (the built-in model)")
    add("--ema", action=argparse.BooleanOptionalAction, help="use the averaged weights (if there are any)")
    add("--device", help="cpu, cuda, cuda:1 or mps (the best there is)")
    add("--dtype", choices=("float32", "float16", "bfloat16"), help="of the networks (what suits the device)")
    add("--precision", choices=("full", "autocast"), default="autocast", help="full means --dtype float32")
    add("--config", metavar="FILE", help="is not read: a checkpoint says itself what it is")
    add("--laion400m", action="store_true", help="is refused: that is another model")
    add("--C", type=int, metavar="N", help="is checked: the channels of a latent")
    add("--f", type=int, metavar="N", help="is checked: how much smaller a latent is than a picture, often 8")


def positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number} is too few")
    return number


def requested(options: argparse.Namespace) -> Request:
    """The request that the flags make. What they leave open becomes the model's default: CompVis's, for its models."""
    given = {name: getattr(options, name) for name in kinds() if hasattr(options, name)}
    given |= named_sampler(options, given)
    if options.laion400m:
        raise ValueError("--laion400m asks for the model text2img-large, which is not supported")
    if options.command == "img2img":
        if "image" not in given:
            raise ValueError("give the picture to start from: --init-img FILE")
        given = ({"scale": 5.0} if options.ckpt is not None else {}) | {"strength": 0.75} | given
    if options.from_file is None:
        given = {"prompt": PROMPT, "count": options.n_iter * options.n_samples} | given
    else:
        given |= {"prompt": lines(options.from_file), "count": options.n_iter}
    request = Request(**given)
    check(request)
    return request


def named_sampler(options: argparse.Namespace, given: dict[str, Any]) -> dict[str, Any]:
    """What --plms and --dpm_solver stand for."""
    if options.plms + options.dpm_solver + ("sampler" in given) > 1:
        raise ValueError("give one of --sampler, --plms and --dpm_solver")
    if options.plms:
        return {"sampler": "plms"}
    return {"sampler": "dpmpp_2m", "schedule": given.get("schedule", "uniform")} if options.dpm_solver else {}


def lines(path: Path) -> list[str]:
    try:
        prompts = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise ValueError(f"--from-file {path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ValueError(f"--from-file {path} is not UTF-8 text: save it as such") from None
    if not prompts:
        raise ValueError(f"--from-file {path} is empty: write a prompt on each line")
    return prompts
