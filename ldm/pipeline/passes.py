"""What a job samples: noise levels, one list for each pass; and what can be said against a request
before there is a model."""

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from typing import Any

from ..compat.names import renamed
from ..compat.profiles import PROFILES, Profile
from ..request import Request
from ..runtime.checks import known
from ..samplers import SAMPLERS, SCHEDULES, NoiseSchedule, Sampler
from ..samplers.schedule import levels
from .additions import CHECKS
from .caveats import tell_low_start
from .hires import second_pass
from .strength import ending_at, from_picture

SAMPLER_OPTIONS = ("eta", "s_churn", "s_tmin", "s_tmax", "s_noise")  # fields that samplers take


@dataclass(frozen=True)
class Pass:
    """One walk down the noise levels.

    sampler, options   the method, and its own keyword arguments
    sigmas             the noise levels; from a picture only the end of the whole list
    noised             the level of a picture's noise; where it is not the first of the sigmas, x is
                       then scaled to what a picture of that level would be
    steps              how many were asked for
    width, height      of the pictures, in pixels
    resize_from        width and height that the seed's noise is made for, if they are others
    changes, earlier   how often prompts can change, and could in the pass before: `PromptSchedule`
    """

    sampler: Sampler
    options: Mapping[str, Any]
    sigmas: tuple[float, ...]
    noised: float
    steps: int
    width: int
    height: int
    resize_from: tuple[int, int] | None
    changes: int
    earlier: int

    def latent_size(self, factor: int) -> tuple[int, int]:
        """Height and width of the latents. factor: the VAE's."""
        return self.height // factor, self.width // factor


def check(request: Request) -> None:
    """What can be said against a request before there is a model: names that do not exist, options
    that nothing takes."""
    request = named_as_here(request)
    if request.schedule is not None:
        known(request.schedule, ("automatic", *SCHEDULES), "schedule")
    if request.compat is not None:
        known(request.compat, [name for name in PROFILES if name is not None], "program")
    if (request.noise_offset or request.ensd) and PROFILES[request.compat].noise is None:
        what = "noise_offset and ensd are about the noise of another program"
        raise ValueError(f"{what}: say with --compat which")
    for module, fields in CHECKS.items():
        if any(getattr(request, name) for name in fields):
            import_module(module, __package__).check(request)
    if request.seamless is not None and request.tile is not None:
        raise ValueError("a picture drawn in tiles cannot be seamless: give one of the two")
    if request.sampler is not None:
        known(request.sampler, SAMPLERS, "sampler")
        for name in SAMPLER_OPTIONS:
            check_option(request.sampler, name, getattr(request, name))


def check_option(sampler: str, name: str, value: float | None) -> None:
    neutral = value is None or (name == "eta" and value == 0)  # CompVis's scripts always have one
    if not neutral and not takes(sampler, name):
        able = ", ".join(other for other in SAMPLERS if takes(other, name))
        what = f"sampler {sampler!r} takes no {name}"
        raise ValueError(f"{what}: leave it out, or take one of {able}")


def takes(sampler: str, option: str) -> bool:
    return option in inspect.signature(SAMPLERS[sampler].run).parameters


def named_as_here(request: Request) -> Request:
    """The request with this library's names of a sampler and a schedule that it calls as other
    programs do."""
    ours = request.sampler is None or request.sampler in SAMPLERS
    if ours and (request.schedule is None or request.schedule in ("automatic", *SCHEDULES)):
        return request
    return renamed(request)


def passes(
    request: Request,
    profile: Profile,
    schedule: NoiseSchedule,
    factor: int,
    distilled: bool = False,
) -> tuple[Pass, ...]:
    """What a request with all its defaults samples one after the other: once; with hires a second
    time, from the latents of the first, enlarged. factor: the VAE's. distilled: see `Family`."""
    assert request.steps is not None
    assert request.width is not None
    assert request.height is not None
    sampler = SAMPLERS[str(request.sampler)]
    options = options_for(sampler, request, schedule)

    def part(
        steps: int,
        strength: float | None,
        full: bool,
        size: tuple[int, int],
        resize_from: tuple[int, int] | None = None,
        earlier: int = 0,
    ) -> Pass:
        sigmas, noised = walk(
            profile, schedule, sampler, str(request.schedule), steps, strength, full, distilled
        )
        calls = steps * sampler.calls_per_step
        changes = calls if profile.calls_count else len(sigmas) - 1
        return Pass(sampler, options, sigmas, noised, steps, *size, resize_from, changes, earlier)

    size, full = (request.width, request.height), request.full_steps
    first = part(
        request.steps, request.strength, full or profile.full_steps, size, request.seed_resize_from
    )
    low = first.sigmas[0] < schedule.sigma(len(schedule) // 2 - 1)
    if request.strength is None and low and request.schedule != "dmd2":  # meant for a low step
        tell_low_start(request, schedule.t(first.sigmas[0]), len(schedule))
    if request.hires is None:
        return (first,)
    steps, larger = second_pass(request, profile, size, factor)
    full = full or profile.full_steps or profile.full_steps_hires
    return first, part(steps, request.hires_strength, full, larger, earlier=first.changes)


def walk(
    profile: Profile,
    schedule: NoiseSchedule,
    sampler: Sampler,
    name: str,
    steps: int,
    strength: float | None,
    full: bool,
    distilled: bool,
) -> tuple[tuple[float, ...], float]:
    """The sigmas of a pass, and the level of a picture's noise. name: of the list of levels."""
    every = partial(all_levels, profile, schedule, sampler, name)
    if strength is None:
        sigmas = tuple(every(steps))
        noised = sigmas[0]
    else:
        within = distilled and name == "lcm" and strength > 0
        asked = steps, strength, full, within
        sigmas, noised = from_picture(profile, schedule, sampler, *asked, every)
    if profile.program in sampler.ends_at_sigma_min:
        sigmas = ending_at(schedule.sigma_min, sigmas)
    return sigmas, noised


def options_for(sampler: Sampler, request: Request, schedule: NoiseSchedule) -> dict[str, Any]:
    """The sampler's own arguments: those that the request gives, and the levels of training."""
    given = {n: getattr(request, n) for n in SAMPLER_OPTIONS if takes(sampler.name, n)}
    options = {name: value for name, value in given.items() if value is not None}
    if takes(sampler.name, "levels"):
        options["levels"] = tuple(schedule.sigmas.tolist())
    return options


def all_levels(
    profile: Profile, noise_schedule: NoiseSchedule, sampler: Sampler, schedule: str, steps: int
) -> list[float]:
    """The sigmas of so many steps, as the imitated program has the sampler and the schedule."""
    if schedule == "automatic":
        schedule = automatic_schedule(profile, sampler)
    name = profile.schedules.get(schedule, schedule)
    discard = sampler.discards.get(profile.program, sampler.discard_next_to_last)
    return levels(noise_schedule, steps, name, discard, sampler.adaptive)


def automatic_schedule(profile: Profile, sampler: Sampler) -> str:
    return sampler.schedules.get(profile.program, sampler.schedule)


def of_picture(request: Request) -> bool:
    """Whether something is asked for that only a picture can have."""
    enlarged = (request.upscale, request.upscaler) != (None, None)
    return request.inpaint_only_masked or request.colourise or enlarged
