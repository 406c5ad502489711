"""What a request means for a family of models: its defaults filled in, its mistakes found, its noise levels."""

from __future__ import annotations

import inspect
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor

from .canvas import Canvas, Paste, black_and_white, cut, extended, softened, surroundings
from .clip.conditioning import EMPHASES
from .families import Family
from .images import fit, open_image, rgb, to_pil, to_tensor
from .programs import PROGRAMS, WORDS
from .prompts import drawn
from .request import Request, known
from .samplers import SAMPLERS, SCHEDULES, NoiseSchedule
from .samplers.names import method_named, schedule_named
from .watermark import check_size, marked

if TYPE_CHECKING:
    from PIL.Image import Image

    Picture = str | Path | Image | Tensor  # a file, PIL's, or (1, 3, H, W) in [-1, 1]


def multiple(family: Family) -> int:
    """Of what width and height are multiples where they are ours to choose, in pixels: every level of the U-Net then
    is exactly half the one before."""
    return int(family.vae.factor * 2 ** (len(family.unet.channels) - 1))


OPTIONS = ("eta", "s_churn", "s_tmin", "s_tmax", "s_noise")  # fields of a request that are a sampler's own


def renamed(request: Request) -> Request:
    """The request with this library's names of a sampler and a schedule that it calls as other programs do.

    A sampler's name may end in a schedule, "DPM++ 2M Karras"; a schedule that is given by itself goes before.
    """
    sampler, ending = (None, None) if request.sampler is None else method_named(request.sampler)
    schedule = ending if request.schedule is None else schedule_named(request.schedule)
    return replace(
        request,
        sampler=request.sampler if sampler is None else sampler,
        schedule=request.schedule if schedule is None else schedule,
    )


def check(request: Request) -> None:
    """What can be said against a request before there is a model: names that do not exist, an eta without use."""
    request = renamed(request)
    if request.schedule is not None:
        known(request.schedule, ("automatic", *SCHEDULES), "schedule")
    if request.compat is not None:
        known(request.compat, WORDS, "program")
    if request.emphasis is not None:
        known(request.emphasis, EMPHASES, "emphasis")
    if (request.skip or request.ensd) and PROGRAMS[request.compat].noise is None:
        raise ValueError("skip and ensd are about the noise of another program: say with --compat which")
    known(request.repaint_from, ("original", "fill", "noise"), "start for what is repainted")
    if request.seamless is not None:
        known(request.seamless, ("x", "y", "xy"), "direction to be seamless in")
        if request.tile is not None:
            raise ValueError("a picture drawn in tiles cannot be seamless: give one of the two")
    if request.sampler is None:
        return
    known(request.sampler, SAMPLERS, "sampler")
    for option in OPTIONS:
        neutral = (None, 0) if option == "eta" else (None,)  # CompVis's scripts always have an eta
        if getattr(request, option) not in neutral and not takes(request.sampler, option):
            able = ", ".join(name for name in SAMPLERS if takes(name, option))
            raise ValueError(f"sampler {request.sampler!r} takes no {option}: leave it out, or take one of {able}")


def takes(sampler: str, option: str) -> bool:
    return option in inspect.signature(SAMPLERS[sampler].run).parameters


def prepare(request: Request, family: Family, picture: Picture, mask: Picture | None) -> Canvas:
    """What sampling starts from: a picture, or the part of it that is to be repainted, at a size the family can do."""
    keep, match = request.colourise, request.match_colours
    sides = request.left, request.right, request.top, request.bottom
    if (mask is not None) + any(sides) + (request.enlarge is not None) > 1:
        raise ValueError("a mask, pixels to add at the sides, and to enlarge: give one of the three")
    if mask is None and not any(sides):
        if not isinstance(picture, Tensor) or request.enlarge is not None:
            image = opened(picture)
            picture = to_tensor(fit(image, multiple(family), *wanted_size(request, family, image)))
        return Canvas(picture, keep_luminance=keep, match_colours=match)
    whole, new = extended(opened(picture), *sides) if mask is None else (opened(picture), opened(mask))
    new, place = black_and_white(new, whole.size)
    box, size = (0, 0, *whole.size), fit(whole, multiple(family), request.width, request.height).size
    if request.only_masked:
        width, height = (family.size if side is None else side for side in (request.width, request.height))
        box, size = surroundings(place, request.padding, width / height, whole.size), (width, height)
    part, hole = cut(whole, new, box, size, fill=request.repaint_from == "fill")
    return Canvas(part, hole, Paste(whole, softened(new, request.mask_blur, request.feather), box), keep, match)


def wanted_size(request: Request, family: Family, picture: Image) -> tuple[int | None, int | None]:
    """Width and height as the request says them, or as many times the picture's as it says."""
    if request.enlarge is None:
        return request.width, request.height
    sides = zip((request.width, request.height), picture.size)
    grid = multiple(family)
    width, height = (
        max(1, round(own * request.enlarge / grid)) * grid if said is None else said for said, own in sides
    )
    return width, height


def opened(picture: Picture) -> Image:
    if isinstance(picture, Tensor):
        return to_pil(picture)[0]
    return open_image(picture) if isinstance(picture, str | Path) else rgb(picture)


def settle(request: Request, family: Family, canvas: Canvas | None) -> Request:
    """The request with every default filled in, if the family can do it. canvas: what sampling starts from.

    The family's schedule goes with its own sampler; another sampler that is asked for brings the one that suits it.
    """
    request = request.with_defaults({"steps": family.steps, "sampler": family.sampler, "scale": family.scale})
    check(request)
    request = renamed(request)
    program = PROGRAMS[request.compat]
    request = drawn(request.with_defaults({"emphasis": program.emphasis}))
    if request.clip_skip > family.text.layers:
        raise ValueError(f"clip_skip {request.clip_skip}: this model has layers 1 (the last) to {family.text.layers}")
    if request.schedule is None and request.sampler == family.sampler:
        request = replace(request, schedule=family.schedule)
    elif request.schedule in (None, "automatic"):
        own = SAMPLERS[request.sampler].schedule
        request = replace(request, schedule=program.schedules.get(request.sampler, own))
    width = height = family.size
    if canvas is not None:
        start = canvas.image
        if start.ndim != 4 or start.shape[:2] != (1, 3) or not start.is_floating_point():
            what = f"{tuple(start.shape)} of {start.dtype}"
            raise ValueError(f"an image must be a tensor (1, 3, H, W) of numbers from -1 to 1, not {what}")
        height, width = start.shape[2:]
        request = request.with_defaults({"strength": 0.75 if canvas.mask is None else 1.0})
        if request.enlarge is not None and request.seamless is None:
            request = request.with_defaults({"tile": family.size})
        if request.hires is not None:
            raise ValueError("the second pass of hires is for pictures from noise: leave out hires, or the image")
    elif request.mask is not None or request.only_masked or request.colourise or request.enlarge is not None:
        raise ValueError("give the picture that is to be repainted or coloured")
    elif request.strength is not None:
        raise ValueError(f"strength {request.strength:g} needs an image to start from")
    request = request.with_defaults({"width": width, "height": height})
    pixel = family.vae.factor  # of a latent, in the picture's
    for side, grid in ((request.width, pixel), (request.height, pixel), (request.tile, multiple(family))):
        if side is not None and side % grid:
            raise ValueError(f"a side of {side} pixels does not fit this model: give a multiple of {grid}")
    if canvas is not None and (width, height) != (request.width, request.height):
        raise ValueError(f"an image of {width} x {height} for a picture of {request.width} x {request.height}")
    if request.watermark is not None:
        last, paste = passes(request, family)[-1], None if canvas is None else canvas.paste
        width, height = (last.width, last.height) if paste is None else paste.picture.size
        check_size(width, height, 8 * len(request.watermark.encode()))
    return request


def finished(images: Tensor, request: Request, canvas: Canvas | None) -> list[Image]:
    """Decoded pictures (B, 3, H, W) of a settled request in 8 bits: put back where they were cut from, and marked."""
    truncate = PROGRAMS[request.compat].truncate
    pictures = to_pil(images, truncate) if canvas is None else canvas.finish(images, truncate)
    return pictures if request.watermark is None else [marked(picture, request.watermark) for picture in pictures]


def noise_schedule(request: Request, family: Family) -> NoiseSchedule:
    program = PROGRAMS[request.compat]
    return family.noise_schedule(program.linear, program.whole_t, request.zero_snr)


def noise_levels(request: Request, family: Family) -> list[float]:
    """The sigmas of a settled request: all of them, or the end of them that its strength leaves.

    Of n steps the last round(n * strength) run. With exact_steps n run, the last of round(n / strength). Other programs
    have other rules, see `Program`.
    """
    program, steps, strength = PROGRAMS[request.compat], request.steps, request.strength
    exact = request.exact_steps or program.exact
    if exact and strength:
        steps = program.whole(steps, strength)
    if steps > family.train_steps:
        raise ValueError(f"{request.steps} steps of {steps} are too fine a division: give fewer steps or more strength")
    schedule = noise_schedule(request, family)
    sigmas = program.sampler(request.sampler).sigmas(schedule, steps, request.schedule)
    there = run = len(sigmas) - 1  # a few schedules come as near to `steps` as they can
    if strength is not None:
        run = min(request.steps, there) if exact and strength > 0 else program.share(there, strength)
    if run > 0 and request.sampler in program.noisy and sigmas[-2] > schedule.sigma_min:
        sigmas[-1] = schedule.sigma_min
    return sigmas[there - run :]


def passes(request: Request, family: Family) -> list[Request]:
    """What a settled request samples one after the other: itself; and where it has a hires pass, that one's request,
    which starts from the latents of the first."""
    if request.hires is None:
        return [request]
    grid = multiple(family)
    width, height = (round(side * request.hires / grid) * grid for side in (request.width, request.height))
    steps = request.steps if request.hires_steps is None else request.hires_steps
    again = replace(request, width=width, height=height, steps=steps, strength=request.hires_strength, hires=None)
    exact = request.exact_steps or PROGRAMS[request.compat].again
    return [request, replace(again, exact_steps=exact, noise_width=None, noise_height=None)]
