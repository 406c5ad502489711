"""A model family is data: what its networks look like, the noise they were trained with, and how it
is best used.

The families that are known stand in `families`; a model that a user trains carries its own in the
header of its file.
"""

import sys
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, fields, is_dataclass
from functools import lru_cache
from types import UnionType
from typing import Any, Literal, get_args, get_origin, get_type_hints

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from ..clip.augmentation import seeing
from ..clip.config import TextConfig
from ..clip.model import TextEncoder
from ..clip.vision import VisionConfig, check_vision
from ..samplers import SAMPLERS, SCHEDULES, NoiseSchedule, scaled_linear_betas, zero_terminal_snr
from ..samplers.denoiser import ModelDenoiser, Network, Prediction
from ..samplers.edm import EDMDenoiser, EDMSchedule, check_edm
from ..unet import UNet, UNetConfig
from ..vae import VAE, VAEConfig
from ..vae.scaling import check as check_scaling
from .family_0_1 import upgraded

Told = Literal["inpainting", "depth", "low_resolution", "instruction", "sizes", "sizes_and_score",
               "image_embedding"]  # fmt: skip


@dataclass(frozen=True)
class Family:
    """name
    text                     the text towers: the U-Net reads their results side by side
    unet, vae                the shapes of the other networks
    beta_start, beta_end     of the noise of training, linear in their square root
    train_steps              how many noise levels there were
    prediction               what the U-Net predicts: eps, v or x0, see ModelDenoiser
    size                     width and height of the pictures it was trained on, in pixels
    steps, guidance_scale    by default: steps of sampling, and strength of the guidance
    sampler, schedule        by default: names in SAMPLERS and SCHEDULES
    conditioning             what the U-Net is told beside the text and the time, by the names of
                             its makers: see `pipeline.makers`
    zero_snr                 whether the noise of training ends in pure noise
    edm                      where the noise was not that of betas, but EDM's: lowest and highest
                             level, and the standard deviation of the latents: see `samplers.edm`
    strength, upscale_strength, hires_strength   by default: how far img2img, upscale and the second
                             pass of hires leave the picture that they start from
    hires_upscaler           by default: what is enlarged between the passes of hires, see `Request`
    outpaint_blur            by default: mask_blur of what outpainting adds, in pixels
    img2img_scale            guidance of the command img2img, where its scripts have another
    vision                   CLIP's vision tower, where the U-Net is told the embedding of a picture
    """

    name: str
    text: tuple[TextConfig, ...]
    unet: UNetConfig
    vae: VAEConfig
    beta_start: float
    beta_end: float
    train_steps: int
    prediction: Prediction
    size: int
    steps: int
    guidance_scale: float
    sampler: str
    schedule: str
    conditioning: tuple[Told, ...] = ()
    zero_snr: bool = False
    edm: tuple[float, ...] = ()
    strength: float = 0.75
    upscale_strength: float = 0.3
    hires_strength: float = 0.7
    hires_upscaler: str = "latent"
    outpaint_blur: float = 0.0
    img2img_scale: float = 5.0
    vision: VisionConfig | None = None

    def __post_init__(self) -> None:
        unet, latent = self.unet, self.vae.latent_channels
        if unet.context_width != (width := sum(tower.width for tower in self.text)):
            raise ValueError(f"the U-Net reads texts {unet.context_width} wide; they are {width}")
        if unet.out_channels != latent:
            raise ValueError(f"the U-Net makes {unet.out_channels} channels, the VAE has {latent}")
        if unet.in_channels != latent:
            what = f"the U-Net's in_channels are {unet.in_channels}, a latent has {latent}"
            raise ValueError(f"{what}: what it sees beside the latent are its concat_channels")
        up = unet.up_depth or [()] * len(unet.channels)
        levels = [w for w, down, up in zip(unet.channels, unet.depth, up) if down or any(up)]
        part = unet.head_width if unet.heads is None else unet.heads
        assert part is not None  # UNetConfig has seen to it
        divided = [(tower.width, tower.heads) for tower in self.text]
        divided += [(width, part) for width in levels + [unet.channels[-1]] * bool(unet.mid_depth)]
        if any(width % count for width, count in divided):
            remedy = "change heads, head_width or the widths"
            raise ValueError(f"attention heads must divide their width equally: {remedy}")
        for tower in self.text:
            if tower.layer > tower.layers or (tower.pad or 0) >= tower.vocabulary:
                raise ValueError(
                    f"layer {tower.layer} and pad {tower.pad} must be among a text encoder's "
                    f"{tower.layers} layers and {tower.vocabulary} tokens"
                )
        if not 0 < self.beta_start < self.beta_end < 1 or not 2 <= self.train_steps <= 100_000:
            what = f"{self.train_steps} betas from {self.beta_start} to {self.beta_end}"
            raise ValueError(f"{what}: they must rise within (0, 1), in 2 to 100000 steps")
        if self.vae.mean or self.vae.std:
            check_scaling(self.vae)
        if self.edm:
            check_edm(self.edm, self.prediction)
        if self.vision is not None or "image_embedding" in self.conditioning:
            check_vision(self.vision, self.conditioning, unet.vector_width)
        for strength in (self.strength, self.upscale_strength, self.hires_strength):
            if not 0 <= strength <= 1:
                raise ValueError(f"a strength of {strength}: it must be from 0 to 1")
        for name, known in ((self.sampler, SAMPLERS), (self.schedule, SCHEDULES)):
            if name not in known:
                raise ValueError(f"{name!r} is unknown: choose one of {', '.join(known)}")

    @property
    def distilled(self) -> bool:
        """Whether guidance was distilled into the U-Net, which is told its scale: such a model has
        no negative prompt, and draws with a single branch."""
        return self.unet.guidance_width is not None

    @property
    def told(self) -> tuple[str, ...]:
        """What the U-Net is told beside the text and the time: `conditioning`, and the scale."""
        return (*self.conditioning, "guidance") if self.distilled else self.conditioning

    def noise_schedule(
        self, linear: bool = False, whole: bool = False, zero_snr: bool = False
    ) -> NoiseSchedule:
        """The levels of training; zero_snr: rescaled by `zero_terminal_snr`, as they are anyhow
        where the family was so trained. Others: see `NoiseSchedule`."""
        if self.edm:
            return EDMSchedule(*self.edm)
        betas = scaled_linear_betas(self.beta_start, self.beta_end, self.train_steps)
        return NoiseSchedule(
            zero_terminal_snr(betas) if zero_snr or self.zero_snr else betas, linear, whole
        )

    def denoiser(self, network: Network, schedule: NoiseSchedule) -> ModelDenoiser:
        """A network of this family as D(x, sigma, conditioning)."""
        kind = EDMDenoiser if self.edm else ModelDenoiser
        return kind(network, schedule, self.prediction)

    def to_dict(self) -> dict[str, Any]:
        """Plain values that JSON can write."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Family":
        """The inverse of `to_dict`, also after a journey through JSON. ValueError names the field
        that is wrong."""
        if isinstance(values, Mapping) and "scale" in values:
            values = upgraded(values)
        family: Family = _build(cls, values, "family")
        return family


def _build(kind: Any, values: Any, where: str) -> Any:
    """A dataclass from a mapping that has its fields: all of them, no others, each of its type."""
    if not isinstance(values, Mapping):
        raise ValueError(f"{where} must be a mapping of names to values, not {values!r}")
    names = [field.name for field in fields(kind)]
    if unknown := [name for name in values if name not in names]:
        raise ValueError(f"{where} has no field {unknown[0]!r}: it has {', '.join(names)}")
    needed = [field.name for field in fields(kind) if field.default is MISSING]
    if missing := [name for name in needed if name not in values]:
        raise ValueError(f"{where} lacks the field {missing[0]!r}")
    hints = get_type_hints(kind)
    return kind(
        **{name: _value(hints[name], value, f"{where}.{name}") for name, value in values.items()}
    )


def _value(hint: Any, value: Any, where: str) -> Any:
    if get_origin(hint) is UnionType and isinstance(value, Mapping):
        hint = get_args(hint)[0]  # of a dataclass or None
    if is_dataclass(hint):
        return _build(hint, value, where)
    may_be_empty = where.rpartition(".")[2] in MAY_BE_EMPTY
    if get_origin(hint) is tuple and isinstance(value, list | tuple) and (value or may_be_empty):
        item = get_args(hint)[0]
        return tuple(_value(item, part, f"{where}.{i}") for i, part in enumerate(value))
    if not _fits(hint, value, 0 if MAY_BE_ZERO.intersection(where.split(".")) else 1):
        raise ValueError(f"{where} cannot be {value!r}")
    return value


MAY_BE_EMPTY = {"conditioning", "only_cross_attention", "up_depth", "edm", "mean", "std"}
# All other whole numbers count something.
MAY_BE_ZERO = {"pad", "depth", "mid_depth", "up_depth", "concat_channels", "only_cross_attention"}


def _fits(hint: Any, value: Any, least: int) -> bool:
    if get_origin(hint) is UnionType:
        return any(_fits(part, value, least) for part in get_args(hint))
    if get_origin(hint) is Literal:
        return isinstance(value, str) and value in get_args(hint)
    if hint is int:
        return type(value) is int and value >= least
    if hint is float:
        return type(value) in (int, float) and abs(value) <= sys.float_info.max  # NaN is not
    if hint is str:
        return isinstance(value, str) and value.isprintable() and 0 < len(value) <= 200
    return isinstance(hint, type) and type(value) is hint


class NoInitialisation(TorchFunctionMode):
    """Skips the random initialisation of layers: there is nothing to fill, and the first normal_ on
    torch's `meta` device would import 800 modules, which takes a second."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if getattr(func, "__name__", None) in ("normal_", "uniform_", "kaiming_uniform_"):
            return None
        return func(*args, **(kwargs or {}))


def meta_model(family: Family) -> nn.ModuleDict:
    """A family's networks without memory, by the names of their components: every parameter has its
    shape, and no values yet."""
    with torch.device("meta"), NoInitialisation():
        towers: dict[str, nn.Module] = {
            f"text{i + 1 if i else ''}": TextEncoder(config) for i, config in enumerate(family.text)
        }
        if family.vision is not None:
            towers |= seeing(family.vision)
        return nn.ModuleDict({**towers, "unet": UNet(family.unet), "vae": VAE(family.vae)})


@lru_cache(maxsize=16)
def parameter_shapes(family: Family) -> dict[str, torch.Size]:
    return {name: tensor.shape for name, tensor in meta_model(family).state_dict().items()}
