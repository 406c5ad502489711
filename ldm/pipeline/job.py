"""A request that has met a model: all that is needed is there, every file open, every size known.

`resolve` is the only place that fills defaults, opens files and checks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..compat.noise import CompatNoise
from ..compat.profiles import PROFILES, Profile
from ..images.watermark import check_size
from ..models.families import Family
from ..request import Request
from ..samplers import SAMPLERS, Noise, NoiseSchedule
from .caveats import tell_small
from .given import Given
from .init_image import InitImage, opened, started
from .passes import Pass, automatic_schedule, check, named_as_here, of_picture, passes
from .texts import MARKS, with_texts
from .told import OPTIONS, check_clip_skip, check_told, from_noise, opened_depth

if TYPE_CHECKING:
    from .additions import Addition
    from .init_image import Picture
    from .model import LatentDiffusion
    from .refining import Refiner


@dataclass(frozen=True, eq=False)
class Job:
    """request          with every default filled in: what a picture's metadata keep
    profile          the rules of the program that is imitated
    noise_schedule   the noise levels of training
    passes           what is sampled, one after the other; one, or two with hires
    guidance_scale   of the branches: the request's; 1, which is a single branch, where the program
                     guides by greater ones only, or the network is told the request's
    prompt_syntax    the request's
    from_noise       whether a picture is told to the network alone, and sampling starts from noise
    init             the picture to start from, if any
    depth            the depth map (1, 1, H, W), if one is given; greater is nearer
    given            what the caller brings instead of pictures, seeds and prompts, if anything
    refiner          the model that draws the last steps, if another one does
    additions        to the model, while it draws
    """

    request: Request
    profile: Profile
    noise_schedule: NoiseSchedule
    passes: tuple[Pass, ...]
    guidance_scale: float
    prompt_syntax: str
    from_noise: bool = False
    init: InitImage | None = None
    depth: Tensor | None = None
    given: Given = field(default_factory=Given)
    refiner: Refiner | None = None
    additions: tuple[Addition, ...] = ()

    @property
    def seeds(self) -> range:
        """One for each picture."""
        return range(self.request.seed, self.request.seed + self.request.total)

    @property
    def prompts(self) -> tuple[str, ...]:
        """One for each picture."""
        return self.request.prompts * self.request.count

    @property
    def negatives(self) -> tuple[str, ...]:
        """One for each picture."""
        return self.request.negatives * self.request.count

    @property
    def picture_guided(self) -> bool:
        """Whether a picture that is edited guides, too, beside the prompt."""
        return self.request.image_guidance_scale not in (None, 1)

    @property
    def guided(self) -> bool:
        """Whether there are branches of guidance, so that negatives are read."""
        return self.guidance_scale != 1 or self.picture_guided

    @property
    def chunking(self) -> str:
        """How texts become chunks: by the prompt's syntax, or cut, see `prompts.chunks`."""
        cut = self.profile.cuts_prompts and self.prompt_syntax == "off"
        return "cut" if cut else self.prompt_syntax

    @property
    def per_image(self) -> bool:
        """Whether a picture has its noise to itself; else it is a part of its batch's."""
        return self.profile.noise is None or self.profile.noise.per_image

    def noise(self, part: Pass, dtype: torch.dtype, seeds: Sequence[int] | None = None) -> Noise:
        """The noise of the pictures in a pass, or of other seeds, as the imitated program has it.
        dtype: of the network."""
        source, seeds = self.profile.noise, self.seeds if seeds is None else seeds
        if source is None:
            return Noise(seeds)
        offset, ensd = self.request.noise_offset, self.request.ensd
        return CompatNoise(source, seeds, part.sigmas, dtype, offset, ensd)

    @property
    def steps(self) -> int:
        """Of all passes. (Samplers that choose their own levels may take more or fewer.)"""
        return sum(len(part.sigmas) - 1 for part in self.passes)

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the finished pictures."""
        if self.init is not None and self.init.overlay is not None:
            return self.init.overlay.picture.size
        return self.passes[-1].width, self.passes[-1].height

    def split(self, size: int) -> list[Job]:
        """The same pictures in jobs of at most `size` pictures; of one, if additions want that."""
        size = 1 if any(addition.mixed(self) for addition in self.additions) else size
        parts = self.request.split(size)
        if len(parts) == 1:
            return [self]
        rows = (slice(i * size, (i + 1) * size) for i in range(len(parts)))
        own = [self.given.rows(some) for some in rows]
        return [replace(self, request=part, given=some) for part, some in zip(parts, own)]

    def singles(self) -> list[Request]:
        """For each picture the request that draws it again, and it alone."""
        if self.per_image:
            return self.request.split(1)
        return [replace(self.request, only=i) for i in range(self.request.total)]

    def about(self, model: LatentDiffusion, request: Request) -> str | Mapping[str, str]:
        """What the metadata of one of its pictures say of the model, and of what is added."""
        if not self.additions and model.dtype == torch.float32:
            return model.about
        from .added_hashes import about_added

        return about_added(model, self, request)


def resolve(
    request: Request,
    family: Family,
    image: Picture | None = None,
    mask: Picture | None = None,
    given: Given | None = None,
    depth: Picture | None = None,
) -> Job:
    """The job that a request is for a family of models; ValueError says what is wrong with it.
    image, mask, depth: instead of the files that the request names."""
    request = with_defaults(request, family)
    texts = " ".join((*request.prompts, *request.negatives))
    if request.wildcards is not None or any(mark in texts for mark in MARKS):
        request = with_texts(request)
    image = request.image if image is None else image
    mask = request.mask if mask is None else mask
    depth = request.depth if depth is None else depth
    init, width, height = None, family.size, family.size
    asked = any(getattr(request, name) is not None for name in OPTIONS)
    if family.told or asked or depth is not None:
        pictures = {"image": image, "mask": mask, "depth": depth}
        has = {name for name, picture in pictures.items() if picture is not None}
        request = check_told(request, family, has)
    if image is not None or mask is not None or of_picture(request):
        request, init = opened(request, family, multiple(family), image, mask)
    if init is not None or (given is not None and given.latents is not None):
        request, width, height = started(request, family, init, given)
    elif request.strength is not None:
        raise ValueError(f"strength {request.strength:g} needs an image to start from")
    request = sized(request, family, width, height)
    if init is not None:
        init.check_size(request)
    near = None if depth is None else opened_depth(depth, init)
    job = job_of(request, family, init, near, Given() if given is None else given)
    if given is not None:
        given.check(job, family)
    if request.watermark is not None:
        check_size(*job.size, 8 * len(request.watermark.encode()))
    return job


def job_of(
    request: Request, family: Family, init: InitImage | None, depth: Tensor | None, given: Given
) -> Job:
    """The job of a request that has all its defaults."""
    profile = PROFILES[request.compat]
    if family.edm and profile.program == "diffusers":
        profile = replace(profile, initial_noise_scale=None)  # as its EDM schedulers start
    schedule = family.noise_schedule(profile.linear_sigma, profile.round_t, request.zero_snr)
    alone = init is not None and from_noise(request, family, profile, init)
    walked = replace(request, strength=None) if alone else request
    walks = passes(walked, profile, schedule, family.vae.factor, family.distilled)
    assert request.guidance_scale is not None
    scale, syntax = request.guidance_scale, str(request.prompt_syntax)
    if family.distilled or scale <= profile.unguided_to:
        scale = 1.0
    return Job(request, profile, schedule, walks, scale, syntax, alone, init, depth, given)


def with_defaults(request: Request, family: Family) -> Request:
    """The family's steps, sampler and guidance, and the profile's syntax, where they are left open.

    A schedule that the imitated program has for the sampler goes first. The family's goes with its
    own sampler; another sampler that is asked for brings the one that suits it.
    """
    theirs = "steps", "sampler", "guidance_scale", "hires_strength", "hires_upscaler"
    request = request.filled(**{name: getattr(family, name) for name in theirs})
    check(request)
    request = request.filled(prompt_syntax=PROFILES[request.compat].prompt_syntax)
    if request.clip_skip is not None:
        check_clip_skip(request, family)
    request = named_as_here(request)
    if request.schedule not in (None, "automatic"):
        return request
    sampler, profile = SAMPLERS[str(request.sampler)], PROFILES[request.compat]
    automatic = automatic_schedule(profile, sampler)
    own = sampler.name == family.sampler and profile.program not in sampler.schedules
    schedule = family.schedule if request.schedule is None and own else automatic
    return replace(request, schedule=schedule)


def multiple(family: Family) -> int:
    """Of what width and height are multiples where they are ours to choose, in pixels: every level
    of the U-Net then is exactly half the one before."""
    return int(family.vae.factor * 2 ** (len(family.unet.channels) - 1))


def sized(request: Request, family: Family, width: int, height: int) -> Request:
    """The request with a width and a height, these where it leaves them open."""
    request = request.filled(width=width, height=height)
    for side, grid in ((request.width, 1), (request.height, 1), (request.tile, multiple(family))):
        grid = max(grid, family.vae.factor)
        if side is not None and side % grid:
            below = side // grid * grid
            fitting = f"{below} or {below + grid}" if below else f"{grid}"
            what = f"a side of {side} pixels does not fit this model: give a multiple of {grid}"
            raise ValueError(f"{what}, such as {fitting}")
    drawn = [min(side, request.tile or side) for side in (request.width, request.height) if side]
    if 2 * min(drawn) <= family.size or 4 * drawn[0] * drawn[1] <= 3 * family.size**2:
        tell_small(drawn, family)
    return request
