"""A request that has met a model: nothing that is needed is None, every file is open, every size
known.

`resolve` is the only place that fills defaults, opens files and checks.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from ..compat.profiles import PROFILES, Profile
from ..images.files import open_image
from ..images.masks import to_mask
from ..images.watermark import check_size
from ..models.families import Family
from ..prompts.extra_networks import networks_in
from ..prompts.wildcards import expanded
from ..request import Request
from ..samplers import SAMPLERS, NoiseSchedule
from .given import Given
from .init_image import InitImage, prepare
from .passes import Pass, check, named_as_here, passes

if TYPE_CHECKING:
    from PIL.Image import Image

    Picture = str | Path | Image | Tensor  # a file, PIL's, or (1, 3, H, W) in [-1, 1]


@dataclass(frozen=True, eq=False)
class Job:
    """request          with every default filled in: what a picture's metadata keep
    profile          the rules of the program that is imitated
    noise_schedule   the noise levels of training
    passes           what is sampled, one after the other; one, or two with hires
    guidance_scale, prompt_syntax   those of the request
    init             the picture to start from, if any
    given            what the caller brings instead of pictures, seeds and prompts, if anything
    """

    request: Request
    profile: Profile
    noise_schedule: NoiseSchedule
    passes: tuple[Pass, ...]
    guidance_scale: float
    prompt_syntax: str
    init: InitImage | None = None
    given: Given = field(default_factory=Given)

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
    def chunking(self) -> str:
        """How texts become chunks: by the prompt's syntax, or cut, see `prompts.chunks`."""
        cut = self.profile.cuts_prompts and self.prompt_syntax == "off"
        return "cut" if cut else self.prompt_syntax

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

    def latent_shape(self, family: Family) -> tuple[int, int, int, int]:
        """(B, Z, h, w) of the first pass."""
        first, factor = self.passes[0], family.vae.factor
        size = first.height // factor, first.width // factor
        return self.request.total, family.vae.latent_channels, *size

    def split(self, size: int) -> list[Job]:
        """The same pictures in jobs of at most `size` pictures."""
        parts = self.request.split(size)
        if len(parts) == 1:
            return [self]
        rows = (slice(i * size, (i + 1) * size) for i in range(len(parts)))
        own = [self.given.rows(some) for some in rows]
        return [replace(self, request=part, given=some) for part, some in zip(parts, own)]

    def singles(self) -> list[Request]:
        """For each picture the request that draws it again, and it alone."""
        if self.profile.per_image:
            return self.request.split(1)
        return [replace(self.request, only=i) for i in range(self.request.total)]


def resolve(
    request: Request,
    family: Family,
    image: Picture | None = None,
    mask: Picture | None = None,
    given: Given | None = None,
) -> Job:
    """The job that a request is for a family of models; ValueError says what is wrong with it.
    image, mask: instead of the files that the request names."""
    given = Given() if given is None else given
    request = with_defaults(request, family)
    texts = " ".join((*request.prompts, *request.negatives))
    if request.wildcards is not None or "{" in texts or "__" in texts:
        request = expanded(request)
    profile = PROFILES[request.compat]
    if any("<" in prompt for prompt in request.prompts):
        for what in networks_in(request.prompts, str(request.prompt_syntax)):
            warnings.warn(what, stacklevel=2)
    init = init_image(request, family, image, mask)
    if init is not None and given.latents is not None:
        raise ValueError("give a picture to start from, or latents, not both")
    request = sized(request, family, init, given.latents)
    schedule = family.noise_schedule(profile.linear_sigma, profile.round_t, request.zero_snr)
    assert request.guidance_scale is not None
    assert request.prompt_syntax is not None
    job = Job(
        request,
        profile,
        schedule,
        passes(request, profile, schedule, family.vae.factor),
        request.guidance_scale,
        request.prompt_syntax,
        init,
        given,
    )
    given.check(job.latent_shape(family), family.unet.context_width)
    if request.watermark is not None:
        check_size(*job.size, 8 * len(request.watermark.encode()))
    return job


def with_defaults(request: Request, family: Family) -> Request:
    """The family's steps, sampler and guidance, and the profile's syntax, where they are left open.

    A schedule that the imitated program has for the sampler goes first. The family's goes with its
    own sampler; another sampler that is asked for brings the one that suits it.
    """
    request = filled(
        request, steps=family.steps, sampler=family.sampler, guidance_scale=family.guidance_scale
    )
    check(request)
    request = filled(request, prompt_syntax=PROFILES[request.compat].prompt_syntax)
    layers = min(tower.layers for tower in family.text)
    if request.clip_skip is not None and request.clip_skip > layers:
        raise ValueError(
            f"clip_skip {request.clip_skip}: this model has layers 1 (the last) to {layers}"
        )
    request = named_as_here(request)
    if request.schedule not in (None, "automatic"):
        return request
    sampler, profile = SAMPLERS[str(request.sampler)], PROFILES[request.compat]
    automatic = profile.automatic_schedule(sampler)
    own = sampler.name == family.sampler and profile.program not in sampler.schedules
    schedule = family.schedule if request.schedule is None and own else automatic
    return replace(request, schedule=schedule)


def filled(request: Request, **defaults: Any) -> Request:
    """Every field that is None takes its default."""
    missing = {key: value for key, value in defaults.items() if getattr(request, key) is None}
    return replace(request, **missing)


def multiple(family: Family) -> int:
    """Of what width and height are multiples where they are ours to choose, in pixels: every level
    of the U-Net then is exactly half the one before."""
    return int(family.vae.factor * 2 ** (len(family.unet.channels) - 1))


def init_image(
    request: Request, family: Family, image: Picture | None, mask: Picture | None
) -> InitImage | None:
    """What the request starts from: the pictures given, or the files that it names."""
    image = request.image if image is None else image
    mask = request.mask if mask is None else mask
    if image is None:
        if mask is not None or request.inpaint_only_masked or request.colourise or request.upscale:
            raise ValueError("give the picture that is to be inpainted, coloured or enlarged")
        return None
    opened = open_image(image) if isinstance(image, str | Path) else image
    hole = open_image(mask, to_mask) if isinstance(mask, str | Path) else mask
    return prepare(request, family.size, multiple(family), opened, hole)


def sized(
    request: Request, family: Family, init: InitImage | None, latents: Tensor | None
) -> Request:
    """The request with width, height, strength and tile, which depend on what it starts from."""
    width = height = family.size
    if init is not None or latents is not None:
        if request.hires is not None:
            raise ValueError(
                "the second pass of hires is for pictures from noise: leave out hires, or the image"
            )
        masked = init is not None and init.mask is not None
        request = filled(request, strength=1.0 if masked else 0.75)
    elif request.strength is not None:
        raise ValueError(f"strength {request.strength:g} needs an image to start from")
    if init is not None:
        height, width = init.image.shape[2:]
        if request.upscale is not None and request.seamless is None:
            request = filled(request, tile=family.size)
    elif isinstance(latents, Tensor) and latents.ndim == 4:
        height, width = (family.vae.factor * side for side in latents.shape[2:])
    request = filled(request, width=width, height=height)
    sides = (request.width, 1), (request.height, 1), (request.tile, multiple(family))
    for side, grid in sides:
        grid = max(grid, family.vae.factor)
        if side is not None and side % grid:
            raise ValueError(
                f"a side of {side} pixels does not fit this model: give a multiple of {grid}"
            )
    size = request.width, request.height
    if init is not None and (width, height) != size:
        raise ValueError(f"an image of {width} x {height} for a picture of {size[0]} x {size[1]}")
    return request
