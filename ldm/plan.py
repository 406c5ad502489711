"""What a request means for a family of models: its defaults filled in, its mistakes found, its noise levels."""

import inspect
from dataclasses import replace

from torch import Tensor

from .families import Family
from .request import Request, known
from .samplers import SAMPLERS, SCHEDULES


def multiple(family: Family) -> int:
    """Of what the width and the height of a picture must be multiples, in pixels."""
    return int(2 ** (len(family.vae.channels) - 1 + len(family.unet.channels) - 1))


def check(request: Request) -> None:
    """What can be said against a request before there is a model: names that do not exist, an eta without use."""
    if request.schedule is not None:
        known(request.schedule, ("automatic", *SCHEDULES), "schedule")
    if request.sampler is None:
        return
    known(request.sampler, SAMPLERS, "sampler")
    if request.eta and not takes_eta(request.sampler):
        able = ", ".join(name for name in SAMPLERS if takes_eta(name))
        raise ValueError(f"sampler {request.sampler!r} takes no eta: give 0, or one of {able}")


def takes_eta(sampler: str) -> bool:
    return "eta" in inspect.signature(SAMPLERS[sampler].run).parameters


def settle(request: Request, family: Family, start: Tensor | None) -> Request:
    """The request with every default filled in, if the family can do it. start (1, 3, H, W): the picture to begin with.

    The family's schedule goes with its own sampler; another sampler that is asked for brings the one that suits it.
    """
    request = request.with_defaults({"steps": family.steps, "sampler": family.sampler, "scale": family.scale})
    check(request)
    if request.schedule is None and request.sampler == family.sampler:
        request = replace(request, schedule=family.schedule)
    elif request.schedule in (None, "automatic"):
        request = replace(request, schedule=SAMPLERS[request.sampler].schedule)
    width = height = family.size
    if start is not None:
        if start.ndim != 4 or start.shape[:2] != (1, 3):
            raise ValueError(f"an image must be a tensor (1, 3, H, W), not {tuple(start.shape)}")
        height, width = start.shape[2:]
        request = request.with_defaults({"strength": 0.75})
    elif request.strength is not None:
        raise ValueError(f"strength {request.strength:g} needs an image to start from")
    request = request.with_defaults({"width": width, "height": height})
    for side in (request.width, request.height):
        if side % multiple(family):
            raise ValueError(f"a side of {side} pixels does not fit this model: give a multiple of {multiple(family)}")
    if start is not None and (width, height) != (request.width, request.height):
        raise ValueError(f"an image of {width} x {height} for a picture of {request.width} x {request.height}")
    return request


def noise_levels(request: Request, family: Family) -> list[float]:
    """The sigmas of a settled request: all of them, or the end of them that its strength leaves.

    Of n steps the last round(n * strength) run. With exact_steps n run, the last of round(n / strength).
    """
    steps, strength = request.steps, request.strength
    if strength is not None and strength > 0 and request.exact_steps:
        steps = round(steps / strength)
    if steps > family.train_steps:
        raise ValueError(f"{request.steps} steps of {steps} are too fine a division: give fewer steps or more strength")
    sigmas = SAMPLERS[request.sampler].sigmas(family.noise_schedule(), steps, request.schedule)
    if strength is None:
        return sigmas
    there = len(sigmas) - 1  # a few schedules come as near to `steps` as they can
    run = min(request.steps, there) if request.exact_steps and strength > 0 else round(there * strength)
    return sigmas[there - run :]
