"""How a program goes from a request to a picture, as far as that can be done in several ways. The
rows of the programs stand in `profiles`, and how each of them has a sampler in the columns of
`Sampler`.

The pipeline reads the fields of a row, and never asks which program it is.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from ..samplers import Sampler
from .noise import NoiseSource

NoiseScale = Callable[[Sampler, str, float, float], float]  # sampler, schedule, sigma, sigma_max
Steps = Callable[[int, float], int]  # steps, strength -> steps
ClipLayer = Callable[[int, int], int]  # clip_skip, a text encoder's own layer -> layer
HiresSide = Callable[[int, float, int], int]  # side, factor, the VAE's factor -> side


def rounded(steps: int, strength: float) -> int:
    return round(steps * strength)


def nearest(side: int, scale: float, factor: int) -> int:
    """The nearest side that the VAE can do, in pixels."""
    return round(side * scale / factor) * factor


def rounded_total(steps: int, strength: float) -> int:
    return round(steps / strength)


def counted_from_last(clip_skip: int, own: int) -> int:
    return clip_skip


@dataclass(frozen=True)
class Profile:
    """How a program does what can be done in several ways. The defaults are this library's.

    name         what a request calls it
    program      the name under which `Sampler` has columns of it
    noise        where its noise comes from; None: from this library's `Noise`
    initial_noise_scale  what the first noise is multiplied with, where there is no picture to start
                 from: of the sampler, the schedule's name, the first sigma and the schedule's
                 sigma_max; None: as an unknown latent of variance 1 has it, sqrt(1 + sigma^2)
    full_noise_img2img   whether that also holds for the noise that is added to a picture
    from_noise   by which conditioning a picture is told to the network so that at strength 1
                 sampling starts from noise alone, without the picture under it
    blends_inpainting  whether what is outside the mask is also put into the latents in between,
                 with models that are told the mask; with others it always is
    linear_sigma, round_t  see `NoiseSchedule`
    schedules    what its names of schedules mean, where they mean something else here
    prompt_syntax  whose grammar a prompt is in, where the request does not say
    cuts_prompts  whether a prompt without a grammar ends after one chunk, 75 tokens
    empty_negative  what an empty negative prompt of SDXL is: "zeros" in context and vector;
                 "encoded" like any other; or "trained", as the makers' code has it: zeros, but
                 encoded for the refiner. (In each of them a space is encoded as no words at all.)
    clip_layer   of clip_skip, and of a text encoder's own layer: the one that is read, see
                 `encode_prompts`
    skips_negatives  whether clip_skip holds for negative prompts, too
    repeat_chunks  whether prompts of unlike lengths are filled up with their own chunks
    calls_count  whether changes of a prompt go by the calls of the network, counted from 0, and by
                 all the steps asked for; else by the steps that run, counted from 1
    img2img_steps  of so many steps, how many run on a picture, at this strength
    noise_one_above  CompVis's: strength counts the steps asked for, not those that the schedule
                 has, and a picture's noise is of the level one above the first call's
    total_steps  how many must be asked for so that as many run as are wanted: where `full_steps` is
    full_steps, full_steps_hires  whether it is as good as set always; in the second pass of hires
    hires_side   of a side of the first pass, the factor, and the VAE's: the side of the second
    slerp_dims   along which dimensions of the noise a variation goes, see `slerp`
    one_stream   whether all batches of a run draw from one stream, which the first one seeds
    guess_scales  what so many residuals of a ControlNet are multiplied with in guess mode; None:
                 see `pipeline.controlled`
    unguided_to  the guidance scale up to which there is no guidance; else 1 is without
    truncate     whether 8 bits are made by cutting off the fraction; else by rounding
    """

    name: str | None = None
    program: str = ""
    noise: NoiseSource | None = None
    initial_noise_scale: NoiseScale | None = None
    full_noise_img2img: bool = False
    from_noise: tuple[str, ...] = ("inpainting", "depth", "instruction")
    blends_inpainting: bool = False
    linear_sigma: bool = False
    round_t: bool = False
    schedules: Mapping[str, str] = field(default_factory=dict, hash=False)
    prompt_syntax: Literal["a1111", "comfyui", "off"] = "a1111"
    cuts_prompts: bool = False
    empty_negative: Literal["trained", "zeros", "encoded"] = "trained"
    clip_layer: ClipLayer = counted_from_last
    skips_negatives: bool = True
    repeat_chunks: bool = False
    calls_count: bool = False
    img2img_steps: Steps = rounded
    noise_one_above: bool = False
    total_steps: Steps = rounded_total
    full_steps: bool = False
    full_steps_hires: bool = False
    hires_side: HiresSide = nearest
    slerp_dims: tuple[int, ...] = (1, 2, 3)
    one_stream: bool = False
    guess_scales: Callable[[int], list[float]] | None = None
    unguided_to: float = -math.inf
    truncate: bool = False
