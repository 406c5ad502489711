"""What can be said of a request to a model whose U-Net is told more than the text, before any work:
what it needs, what it cannot do, and the defaults of its own options."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor

from ..compat.profile import Profile
from ..compat.profiles import PROFILES
from ..images.depth import depth_map, open_depth
from ..models.families import Family
from ..prompts.schedule import joined_prompts
from ..request import Request
from ..runtime.warn import warn

if TYPE_CHECKING:
    from .init_image import InitImage, Picture

MOST_NOISE = 350  # that the x4 upscaler was trained with
OPTIONS = {  # of a request, and which conditioning has a use for them
    "depth": ("depth",),
    "depth_model": ("depth",),
    "noise_level": ("low_resolution", "image_embedding"),
    "image_guidance_scale": ("instruction",),
    "original_size": ("sizes", "sizes_and_score"),
    "crop": ("sizes", "sizes_and_score"),
    "target_size": ("sizes",),
    "aesthetic_score": ("sizes_and_score",),
}
USES = {
    "depth": "a model that is told depth (stable-diffusion-2-depth)",
    "low_resolution": "an upscaler (stable-diffusion-x4-upscaler)",
    "instruction": "a model that edits by instructions (instruct-pix2pix)",
    "image_embedding": "a model that varies a picture (stable-diffusion-2-1-unclip)",
    "sizes": "SDXL",
    "sizes_and_score": "SDXL's refiner",
}
NEEDS = {  # a picture, and why
    "depth": "this model draws after the depth of a picture: give --image, or --depth",
    "low_resolution": "this model makes a picture larger: give --image",
    "instruction": "this model edits a picture: give --image",
}
NEVER = {  # what makes no sense with a conditioning
    "low_resolution": ("mask", "left", "right", "top", "bottom", "colourise"),
    "depth": ("inpaint_only_masked", "left", "right", "top", "bottom"),
}


def options_of_told(request: Request) -> list[str]:
    """Those of OPTIONS that a request gives, and not for its refiner."""
    if request.refiner is not None:
        return []
    return [name for name in OPTIONS if getattr(request, name) is not None]


def check_options(given: list[str], family: Family) -> None:
    """ValueError for an option that only models of other families have a use for."""
    for name in given:
        if not set(OPTIONS[name]).intersection(family.conditioning):
            uses = " and ".join(USES[kind] for kind in OPTIONS[name])
            raise ValueError(f"{name} is for {uses}, not for {family.name}: leave it out")


def check_clip_skip(request: Request, family: Family) -> None:
    """ValueError: the text encoders have no such layer."""
    skip = request.clip_skip or 1
    layers = min(tower.layers for tower in family.text)
    layer = abs(PROFILES[request.compat].clip_layer(skip, family.text[0].layer))
    if layer > layers:
        counted = "" if layer == skip else f", and {request.compat} means layer {layer}"
        raise ValueError(
            f"clip_skip {skip}: this model has layers 1 (the last) to {layers}{counted}"
        )


def check_told(request: Request, family: Family, has: set[str]) -> Request:
    """The request with the defaults of what these models alone are told; ValueError if they lack
    what they need, or are to do what they cannot.

    has    which of "image", "mask" and "depth" there are, named in the request or given beside it
    """
    if family.distilled and any(request.negatives):
        what = "this model was distilled from guidance without a negative prompt"
        warn(f"{what}: the negative prompt is not read")
    check_options([*options_of_told(request), *({"depth"} & has)], family)
    for kind in family.conditioning:
        if kind in NEEDS and "image" not in has and not (kind == "depth" and "depth" in has):
            raise ValueError(NEEDS[kind])
        given = [name for name in NEVER.get(kind, ()) if getattr(request, name) or name in has]
        if given and not (kind == "depth" and "depth" not in has):
            raise ValueError(f"{given[0]} cannot be used with {USES[kind]}: leave it out")
    if "instruction" in family.conditioning:
        return with_guidance(request)
    if "low_resolution" in family.conditioning:
        return enlarging(request, family)
    if "image_embedding" in family.conditioning:
        if "image" in has:
            return request.filled(noise_level=0)
        if request.noise_level is not None:
            raise ValueError(
                "noise_level is of the noise on a picture: give --image, or leave it out"
            )
    return request


def with_guidance(request: Request) -> Request:
    request = request.filled(image_guidance_scale=1.5)
    syntax = str(request.prompt_syntax)
    joined = any(len(joined_prompts(prompt, syntax)) > 1 for prompt in request.prompts)
    if joined and request.image_guidance_scale != 1:
        raise ValueError(
            "prompts joined by AND cannot be guided by a picture as well: write one instruction, "
            "or give --image_guidance_scale 1"
        )
    return request


def enlarging(request: Request, family: Family) -> Request:
    factor = family.vae.factor
    if request.upscale not in (None, 0, factor):
        what = f"upscale {request.upscale:g}: this model makes pictures {factor} times as large"
        raise ValueError(f"{what}, no more and no less: leave it out, or give --W and --H")
    if request.strength not in (None, 1):
        raise ValueError(
            f"strength {request.strength:g}: this model draws from noise alone, and is told the "
            "picture: leave it out, or give a --noise_level"
        )
    if request.noise_level is not None and request.noise_level > MOST_NOISE:
        raise ValueError(f"noise_level {request.noise_level}: an upscaler knows 0 to {MOST_NOISE}")
    return replace(request.filled(noise_level=20, strength=1.0), upscale=float(factor))


def from_noise(request: Request, family: Family, profile: Profile, init: InitImage) -> bool:
    """Whether sampling starts from noise alone, though there is a picture."""
    kinds = {"low_resolution", *profile.from_noise}.intersection(family.conditioning)
    if init.mask is None and request.upscale is None:
        kinds |= {"image_embedding"}.intersection(family.conditioning)
    return bool(kinds) and request.strength in (None, 1)


def opened_depth(given: Picture, init: InitImage | None) -> Tensor:
    """A depth map as it is given. (1, 1, H, W)"""
    near = open_depth(given) if isinstance(given, str | Path) else depth_map(given)
    if init is not None:
        (high, wide), (height, width) = near.shape[-2:], init.image.shape[-2:]
        if abs(wide * height / (high * width) - 1) > 0.1:
            shapes = f"{wide} x {high} is stretched to the picture's {width} x {height}"
            warn(f"the depth map of {shapes}")
    return near
