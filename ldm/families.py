"""A model family is data: what its networks look like, the noise they were trained with, and how it is best used.

A new family is one more entry of FAMILIES; a model that a user trains carries its own in the header of its file.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, is_dataclass
from types import UnionType
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from .clip.model import TextConfig
from .samplers import SAMPLERS, SCHEDULES, NoiseSchedule, scaled_linear_betas, zero_terminal_snr
from .unet import UNetConfig
from .vae import VAEConfig

T = TypeVar("T")


@dataclass(frozen=True)
class Family:
    """name
    text, unet, vae          the shapes of the three networks
    beta_start, beta_end     of the noise of training, linear in their square root
    train_steps              how many noise levels there were
    prediction               what the U-Net predicts: eps or v, see ModelDenoiser
    size                     width and height of the pictures it was trained on, in pixels
    steps, scale             by default: steps of sampling, and strength of the guidance
    sampler, schedule        by default: names in SAMPLERS and SCHEDULES
    """

    name: str
    text: TextConfig
    unet: UNetConfig
    vae: VAEConfig
    beta_start: float
    beta_end: float
    train_steps: int
    prediction: Literal["eps", "v"]
    size: int
    steps: int
    scale: float
    sampler: str
    schedule: str

    def __post_init__(self) -> None:
        if self.unet.context_width != self.text.width:
            raise ValueError(f"the U-Net reads texts {self.unet.context_width} wide, but they are {self.text.width}")
        if self.unet.out_channels != self.vae.latent_channels:
            raise ValueError(
                f"the U-Net makes {self.unet.out_channels} channels, the VAE has {self.vae.latent_channels}"
            )
        if self.unet.in_channels != self.vae.latent_channels:
            raise ValueError(
                f"the U-Net sees {self.unet.in_channels} channels, and a latent has {self.vae.latent_channels}: "
                "models for inpainting or depth, which see more than a latent, are not supported"
            )
        part = self.unet.heads if self.unet.heads is not None else self.unet.head_width
        assert part is not None  # UNetConfig has seen to it
        if self.text.width % self.text.heads or any(width % part for width in self.attended):
            raise ValueError("attention heads must divide their width equally: change heads, head_width or the widths")
        if not 0 < self.beta_start < self.beta_end < 1 or not 2 <= self.train_steps <= 100_000:
            raise ValueError(
                f"{self.train_steps} betas from {self.beta_start} to {self.beta_end}: "
                "they must rise within (0, 1), in 2 to 100000 steps"
            )
        for name, known in ((self.sampler, SAMPLERS), (self.schedule, SCHEDULES)):
            if name not in known:
                raise ValueError(f"{name!r} is unknown: choose one of {', '.join(known)}")

    @property
    def attended(self) -> list[int]:
        """The widths at which the U-Net has transformers; its middle always has."""
        levels = zip(self.unet.channels, self.unet.attention)
        return [width for width, attention in levels if attention] + [self.unet.channels[-1]]

    def noise_schedule(self, linear: bool = False, whole: bool = False, zero_snr: bool = False) -> NoiseSchedule:
        """The levels of training; zero_snr: rescaled by `zero_terminal_snr`. Others: see `NoiseSchedule`."""
        betas = scaled_linear_betas(self.beta_start, self.beta_end, self.train_steps)
        return NoiseSchedule(zero_terminal_snr(betas) if zero_snr else betas, linear, whole)

    def to_dict(self) -> dict[str, Any]:
        """Plain values that JSON can write."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Family":
        """The inverse of `to_dict`, also after a journey through JSON. ValueError names the field that is wrong."""
        return _build(cls, values, "family")


def _build(kind: type[T], values: Any, where: str) -> T:
    """A dataclass from a mapping that has its fields: all of them, no others, each of its type."""
    if not isinstance(values, Mapping):
        raise ValueError(f"{where} must be a mapping of names to values, not {values!r}")
    names = [field.name for field in fields(kind)]  # type: ignore[arg-type]
    if unknown := [name for name in values if name not in names]:
        raise ValueError(f"{where} has no field {unknown[0]!r}: it has {', '.join(names)}")
    if missing := [name for name in names if name not in values]:
        raise ValueError(f"{where} lacks the field {missing[0]!r}")
    hints = get_type_hints(kind)
    return kind(**{name: _value(hints[name], values[name], f"{where}.{name}") for name in names})


def _value(hint: Any, value: Any, where: str) -> Any:
    if is_dataclass(hint):
        return _build(hint, value, where)  # type: ignore[arg-type]
    if get_origin(hint) is tuple and isinstance(value, list | tuple) and value:
        return tuple(_value(get_args(hint)[0], item, where) for item in value)
    if not _fits(hint, value):
        raise ValueError(f"{where} cannot be {value!r}")
    return value


def _fits(hint: Any, value: Any) -> bool:
    """Every whole number of a family counts something: it is positive."""
    if get_origin(hint) is UnionType:
        return any(_fits(part, value) for part in get_args(hint))
    if get_origin(hint) is Literal:
        return isinstance(value, str) and value in get_args(hint)
    if hint is int:
        return type(value) is int and value > 0
    if hint is float:
        return type(value) in (int, float) and math.isfinite(value)
    return isinstance(hint, type) and type(value) is hint


# Stable Diffusion 1.1 to 1.5: CompVis/stable-diffusion, configs/stable-diffusion/v1-inference.yaml, scripts/txt2img.py.
SD1 = Family(
    name="sd1",
    text=TextConfig(vocabulary=49408, length=77, width=768, layers=12, heads=12, activation="quick_gelu"),
    unet=UNetConfig(
        in_channels=4,
        out_channels=4,
        channels=(320, 640, 1280, 1280),
        res_blocks=2,
        groups=32,
        attention=(True, True, True, False),
        context_width=768,
        heads=8,
        head_width=None,
        depth=1,
        linear_projection=False,
    ),
    vae=VAEConfig(
        image_channels=3, latent_channels=4, channels=(128, 256, 512, 512), res_blocks=2, groups=32, scale=0.18215
    ),
    beta_start=0.00085,
    beta_end=0.0120,
    train_steps=1000,
    prediction="eps",
    size=512,
    steps=50,
    scale=7.5,
    sampler="ddim",
    schedule="leading",
)

FAMILIES = {family.name: family for family in (SD1,)}
