"""What a file is that is used beside a checkpoint, and how."""

import os
from collections.abc import Iterator
from dataclasses import replace
from math import gcd
from pathlib import Path
from typing import NamedTuple

from ...request import Request
from ...vae import VAEConfig
from ..families import FAMILIES
from .components import key_format_of_part
from .deep import open_deep
from .errors import CheckpointError
from .guess import guess_type
from .matching import first, match
from .opening import OpenedCheckpoint, open_checkpoint
from .taesd import HALVES, halves, taesd_config
from .vae import Sizes, sizes_of, stated


class Beside(NamedTuple):
    """what it is, in words; and the flags that take it

    families  for whose models it is; (): nothing tells it; None: for pictures, whoever drew them
    more      what else there is to say, as pairs of a heading and a text
    problem   why it cannot be used; None: it can
    """

    what: str
    flags: str
    families: tuple[str, ...] | None = ()
    more: tuple[tuple[str, str], ...] = ()
    problem: str | None = None


def open_any(path: str | Path) -> OpenedCheckpoint:
    """A checkpoint, or what is used beside one: also those that lie elsewhere in their folders or
    in their pickles."""
    from ..lora.file import file_of  # which reads files by this package

    path = Path(os.path.expanduser(path))
    tiny = sorted(path.glob("tae*_decoder.*")) if path.is_dir() else []
    try:
        return open_checkpoint(tiny[0] if tiny else file_of(path), alone=True)
    except CheckpointError:
        if not path.is_file():
            raise
        try:
            return open_deep(path)
        except CheckpointError:
            pass
        raise


def beside(opened: OpenedCheckpoint, path: Path) -> Beside | None:
    """None: it is a checkpoint, or something that is not known here. path: as it was given, maybe
    the folder that the file is in."""
    weights = opened.weights
    if is_paused(opened):
        return of_paused(opened)
    if tiny := halves(weights):
        there = " and ".join(half for half in HALVES if half in tiny)
        families: tuple[str, ...] = ()
        problem = None
        if "decoder" in tiny:
            try:
                families = drawing(taesd_config(tiny, 1.0))
            except CheckpointError as error:
                problem = str(error)
        what = f"a tiny autoencoder (TAESD): {there}"
        return Beside(what, "--taesd, or --vae", families, problem=problem)
    if guess_type(weights) == "a VAE alone" and (sizes := sizes_of(weights)) is not None:
        return of_vae(opened, path, sizes)
    from ..additions import KINDS  # these read files by this package
    from ..control import of_control
    from ..upscalers.opening import known_as

    if (control := of_control(weights)) is not None:
        return Beside(control[0], "--control", control[1])
    if (upscaler := known_as(weights)) is not None:
        network = upscaler[0]
        kind = f"{type(network).__name__}, {network.scale:g} times as large"
        flags = "--upscaler, --hires_upscaler, or ldm enlarge --model"
        return Beside(f"an upscaler of pictures ({kind})", flags, None)
    told = (kind(opened, path) for kind in KINDS)
    return next((found for found in told if found is not None), None)


def is_paused(opened: OpenedCheckpoint) -> bool:
    """Whether it is a drawing that was left, see `pipeline.pause`."""
    return {"request", "model"} <= opened.metadata.keys() and "denoised.0" in opened.weights


def of_paused(opened: OpenedCheckpoint) -> Beside:
    calls = sum(name.startswith("denoised.") for name in opened.weights)
    what = f"a drawing that --pause_after left, after {calls} calls of the network"
    model = ("model", opened.metadata["model"])
    try:
        request = Request.from_json(opened.metadata["request"])
    except ValueError as error:
        return Beside(what, "ldm resume", None, (model,), str(error))
    return Beside(what, "ldm resume", None, (model, ("prompt", " / ".join(request.prompts))))


def of_vae(opened: OpenedCheckpoint, path: Path, sizes: Sizes) -> Beside:
    groups = gcd(32, *sizes.channels)
    config = VAEConfig(
        sizes.image_channels, sizes.latent_channels, sizes.channels, sizes.res_blocks, groups, 1.0
    )
    latents = f"latents of {config.latent_channels} channels, {config.factor} times smaller"
    what = f"a VAE with {sizes.names}: {latents} than a picture"
    try:
        said, problem = stated(path, opened), "; ".join(faults(opened, config)) or None
    except CheckpointError as error:
        said, problem = {}, str(error)
    more = (("scale", f"{said['scale']:g}, as its config says"),) if "scale" in said else ()
    return Beside(what, "--vae", drawing(config), more, problem)


def drawing(config: VAEConfig) -> tuple[str, ...]:
    """The families whose latents are of this kind."""
    wanted = config.latent_channels, config.factor
    known = {name: family.vae for name, family in FAMILIES.items()}
    return tuple(n for n, vae in known.items() if (vae.latent_channels, vae.factor) == wanted)


def faults(opened: OpenedCheckpoint, config: VAEConfig) -> Iterator[str]:
    """What a VAE of these sizes lacks in a file of it alone, or has in another shape."""
    base, latent = FAMILIES["sd1"], config.latent_channels
    unet = replace(base.unet, in_channels=latent, out_channels=latent)  # which is not looked at
    family = replace(base, vae=config, unet=unet)
    key_format, bare = key_format_of_part(opened, family, ["vae"])
    found = match(opened, family, key_format, None, ["vae"], bare)
    for names, what in ((found.missing, "missing"), (found.wrong_shape, "of the wrong kind")):
        if names:
            yield f"{len(names)} {what} ({first(names)})"
