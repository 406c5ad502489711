"""A VAE from a file of its own, to take the place of a model's: of the VAE alone in any key format,
of a whole checkpoint, of a tiny autoencoder; or a diffusers folder."""

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from math import gcd
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from ...vae import VAE, VAEConfig
from ...vae.taesd import TAESD
from ..family import Family
from .components import components_of
from .errors import CheckpointError
from .folder import FIXED
from .folder_files import STEMS as STEMS_OF_FOLDERS
from .folder_files import read_json
from .mapped import Weight
from .matching import seems
from .opening import OpenedCheckpoint, open_checkpoint, stated_family
from .taesd import opened_pair, read_decoder, read_pair, taesd_config

CONV = re.compile(
    r"(?P<root>(first_stage_model\.|vae\.)?)encoder\."
    r"(?P<levels>down|down_blocks)\.(?P<level>\d+)\."
    r"(?P<blocks>block|resnets|res)\.(?P<block>\d+)\.conv1\.weight"
)
STEM = {"block": "conv_in", "resnets": "conv_in", "res": "stem"}  # by what blocks are called


@dataclass(frozen=True)
class Sizes:
    """What the shapes of a VAE's tensors tell: fields of VAEConfig, and the format of the names."""

    image_channels: int
    latent_channels: int
    channels: tuple[int, ...]
    res_blocks: int
    names: str


def sizes_of(weights: Mapping[str, Weight]) -> Sizes | None:
    """Of the VAE among these tensors; None: there is none, or one of another kind."""
    found = [match for name in weights if (match := CONV.fullmatch(name))]
    if not found:
        return None
    widths = {int(match["level"]): weights[match[0]].shape for match in found}
    stem = f"{found[0]['root']}{{}}coder.{STEM[found[0]['blocks']]}.weight"
    into, out = (weights.get(stem.format(half)) for half in ("en", "de"))
    shapes = [*widths.values(), *(weight.shape for weight in (into, out) if weight is not None)]
    if into is None or out is None or any(len(shape) != 4 for shape in shapes):
        return None
    names = {"block": "CompVis's names", "resnets": "diffusers' names", "res": "own names"}
    return Sizes(
        into.shape[1],
        out.shape[1],
        tuple(widths[level][0] for level in sorted(widths)),
        1 + max(int(match["block"]) for match in found),
        names[found[0]["blocks"]],
    )


def read_vae(
    path: str | Path, family: Family, device: torch.device | str = "cpu"
) -> tuple[VAE | TAESD, Family]:
    """The VAE at a path, in float32, and the family of a model that uses it.

    Its latents must be what the family's U-Net draws: as many channels, and as much smaller than a
    picture. Their scale is the family's, unless a config beside it, or the header of a file of this
    library's, says otherwise. CheckpointError: the path is of no such VAE.
    """
    path = Path(os.path.expanduser(path))
    if (pair := opened_pair(path)) is not None:
        tiny = taesd_config(pair, family.vae.scale)
        check_latents(path, tiny.latent_channels, tiny.factor, family)
        return read_pair(pair, tiny).to(device), family
    opened = open_checkpoint(path, alone=True)
    sizes = sizes_of(opened.weights)
    if sizes is None:
        raise CheckpointError(f"{path} holds no VAE of pictures that is known here{seems(opened)}")
    groups = gcd(family.vae.groups, *sizes.channels)
    config = VAEConfig(
        sizes.image_channels, sizes.latent_channels, sizes.channels, sizes.res_blocks,
        **{"groups": groups, "scale": family.vae.scale} | stated(path, opened),
    )  # fmt: skip
    check_latents(path, config.latent_channels, config.factor, family)
    own = replace(family, vae=config)
    networks = components_of(opened, ["vae"], torch.float32, device, family=own)
    return cast(VAE, networks["vae"]), own


def tiny_preview(path: Path, family: Family, device: torch.device) -> Callable[[Tensor], Tensor]:
    """From a model's latents to pictures (B, 3, H, W) in [-1, 1], float32, by a tiny decoder."""
    if (pair := opened_pair(Path(os.path.expanduser(path)))) is None:
        raise CheckpointError(f"{path} holds no tiny autoencoder: give one, like taesd_decoder")
    config = taesd_config(pair, family.vae.scale)
    check_latents(path, config.latent_channels, config.factor, family)
    decoder = read_decoder(pair, config).to(device)

    @torch.no_grad()
    def decode(latents: Tensor) -> Tensor:
        return torch.cat(
            [decoder(one) for one in latents.to(device).float().chunk(len(latents))]
        ).clamp(-1, 1)

    return decode


def check_latents(path: Path, channels: int, factor: int, family: Family) -> None:
    wanted = family.vae
    if channels != wanted.latent_channels:
        known = {16: ", as of Stable Diffusion 3 and Flux"}.get(channels, "")
        raise CheckpointError(
            f"{path} has latents of {channels} channels{known}; those of {family.name} have "
            f"{wanted.latent_channels}: give a VAE made for it"
        )
    if factor != wanted.factor:
        raise CheckpointError(
            f"{path} makes latents {factor} times smaller than a picture; those of {family.name} "
            f"are {wanted.factor} times smaller: give a VAE made for it"
        )


def stated(path: Path, opened: OpenedCheckpoint) -> dict[str, Any]:
    """Scale and groups, where a config or a header says them."""
    if "family" in opened.metadata:
        own = stated_family(opened).vae
        return {"groups": own.groups, "scale": own.scale}
    beside = (path if path.is_dir() else path.parent) / "config.json"
    of_folder = path.is_dir() or path.stem.startswith(STEMS_OF_FOLDERS[0])
    config = opened.configs.get("vae")
    if config is None:
        config = read_json(beside) if of_folder and beside.is_file() else {}
    for name, only in FIXED["vae"].items():
        if (found := config.get(name, only)) != only:
            what = f"its config has {name} {found!r:.80}, not {only!r}"
            raise CheckpointError(f"{opened.path} is a VAE of a kind not supported: {what}")
    groups, scale = config.get("norm_num_groups"), config.get("scaling_factor")
    told = {"groups": (groups, int), "scale": (scale, float | int)}
    for name, (value, kind) in told.items():
        if value is not None and (not isinstance(value, kind) or not 0 < value < 1e6):
            raise CheckpointError(
                f"{opened.path} has a config whose {name} cannot be {value!r:.80}"
            )
    return {name: value for name, (value, _) in told.items() if value is not None}
