"""From a settled request to its steps: one sampling, or two passes one after the other, that keep to what is known.

B pictures, their latents (B, Z, h, w), of `factor` pixels each in both directions.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from .canvas import Canvas
from .colour import with_luminance
from .families import Family
from .finite import finite
from .plan import OPTIONS, noise_levels, noise_schedule, passes, takes
from .programs import PROGRAMS
from .request import Request
from .samplers import SAMPLERS, Denoiser, Noise, Step, recorded
from .samplers.guidance import inpainted, projected, rescaled, tiled, within
from .samplers.variation import centred, slerp
from .seamless import seamless
from .unet import UNet
from .vae import VAE

Map = Callable[[Tensor], Tensor]  # of pictures to latents, or of latents to pictures
Stepwise = Callable[[int], Denoiser]  # the denoiser of each step, see `Program.change`


class Model(Protocol):
    """What sampling needs of a `LatentDiffusion`."""

    family: Family
    unet: UNet
    vae: VAE

    @property
    def device(self) -> torch.device: ...
    @property
    def dtype(self) -> torch.dtype: ...
    def encode(
        self, images: Tensor, tile: int | None = None, axes: str | None = None, noise: Tensor | None = None
    ) -> Tensor: ...
    def decode(self, latents: Tensor, tile: int | None = None, axes: str | None = None) -> Tensor: ...
    def denoiser(self, request: Request, steps: int, earlier: int = 0) -> Stepwise: ...


def sample(model: Model, request: Request, canvas: Canvas | None, record: list[Tensor] | None = None) -> Iterator[Step]:
    """Every step of all the pictures of a settled request, in one batch. canvas, record: see `LatentDiffusion.steps`.

    A second pass goes on from the enlarged latents of the first, and its steps count on.
    """
    encode = partial(model.encode, tile=request.tile, axes=request.seamless)
    decode = partial(model.decode, tile=request.tile, axes=request.seamless)
    clean: Tensor | None = None
    tile = None if request.tile is None else request.tile // model.vae.factor
    program = PROGRAMS[request.compat]
    done, before, calls, changes, latents = 0, 0, 0, 0, torch.empty(0)

    def compute(x: Tensor, sigma: float) -> Tensor:
        step = done - before + 1
        denoise = bounded(denoiser(program.change(step, calls)), tile, canvas, clean, encode, decode)
        with seamless(model.unet, request.seamless):
            return finite(lambda: denoise(x, sigma), {"unet": model.unet}, f"step {step} of {len(sigmas) - 1}")

    denoise = compute if record is None else recorded(compute, record)

    def counted(x: Tensor, sigma: float) -> Tensor:
        nonlocal calls
        guess = denoise(x, sigma)
        calls += 1
        return guess

    for part in passes(request, model.family):
        sigmas = noise_levels(part, model.family)
        noise = noises(model, part, range(part.seed, part.seed + part.total), sigmas)
        if part is not request:
            clean = enlarged(latents, part, model.vae.factor, encode, decode)
        elif canvas is not None:
            picking = noise.posterior(blank(model, part))
            clean = encode(canvas.image, noise=picking).expand(part.total, -1, -1, -1)
        latents = first_latents(model, part, clean, canvas, sigmas, noise)
        if len(sigmas) == 1:
            yield Step(done, 0.0, latents, latents)
            continue
        earlier, changes = changes, program.changes(part.sampler, part.steps, len(sigmas) - 1)
        denoiser, before, calls = model.denoiser(part, changes, earlier), done, 0
        given = {name: getattr(part, name) for name in OPTIONS if takes(part.sampler, name)}
        options = {name: value for name, value in given.items() if value is not None}
        for step in SAMPLERS[part.sampler].run(counted, latents, sigmas, noise, **options):
            done, latents = before + step.index + 1, step.x
            if step.sigma == sigmas[-1] > 0:  # some programs stop a little above 0, and take x_t for the clean latent
                latents = latents / math.sqrt(1 + step.sigma**2)
            yield step._replace(index=done - 1, x=latents)


def noises(model: Model, request: Request, seeds: Sequence[int], sigmas: Sequence[float]) -> Noise:
    """The noise of these seeds, as the program has it that the request speaks of."""
    program = PROGRAMS[request.compat]
    return program.noises(seeds, sigmas, model.dtype, request.skip, request.ensd)


def blank(model: Model, request: Request) -> Tensor:
    """Zeros of the shape of a settled request's latents. (B, Z, h, w)"""
    shape = model.unet.config.in_channels, request.height // model.vae.factor, request.width // model.vae.factor
    return torch.zeros(request.total, *shape, device=model.device)


def first_latents(
    model: Model, request: Request, clean: Tensor | None, canvas: Canvas | None, sigmas: Sequence[float], noise: Noise
) -> Tensor:
    """Where sampling starts: clean latents, or unknown ones (of variance 1), under noise of the first sigma."""
    sigma, program, factor = sigmas[0], PROGRAMS[request.compat], model.vae.factor
    if clean is not None and sigma == 0:
        return clean
    like = blank(model, request) if clean is None else clean
    first = first_noise(request, like, noise, lambda seeds: noises(model, request, seeds, sigmas), factor)
    top = noise_schedule(request, model.family).sigma_max
    unknown = program.start(request.sampler, request.schedule, sigma, top) * first
    if clean is None:
        return unknown
    x = clean + (unknown if program.anew else sigma * first)
    if canvas is None or canvas.mask is None or request.repaint_from != "noise":
        return x
    return torch.where(hole(canvas.mask, clean) > 0, unknown, x)


def overlap(tile: int, grid: int) -> int:
    """By how much tiles overlap: a quarter, or a little less, so that it is a multiple of the grid."""
    return tile // 4 // grid * grid


def first_noise(
    request: Request, x: Tensor, noise: Noise, draw: Callable[[Sequence[int]], Noise], factor: int
) -> Tensor:
    """The standard normal like x (B, C, h, w) that sampling starts from.

    What `noise` gives next; or noise made for another size, or on the way to a variation seed's. draw: seeds -> their
    noise. factor: pixels of a latent pixel.
    """
    own = noise(x)
    width, height = request.noise_width, request.noise_height
    if request.variation == 0 and width is None and height is None:
        return own
    sides = (there if side is None else side // factor for there, side in zip(x.shape[2:], (height, width)))
    like = x.new_empty(*x.shape[:2], *sides)
    first = draw(noise.seeds)(like)
    if request.variation > 0:
        other = draw([request.variation_seed] * len(x))(like)
        first = slerp(first, other, request.variation, PROGRAMS[request.compat].circle)
    return centred(first, own)


def always_guided(request: Request) -> bool:
    """Whether the network is never called on a single latent, but at least on one with its prompt and one without.

    On a CPU a convolution of one is rounded otherwise than of several, which is all that shows of a batch's size.
    """
    return request.scale != 1 and request.rescale == 0 and request.guide_low == 0 and request.guide_high is None


def tempered(request: Request, guidance: Callable[[float], Stepwise]) -> Stepwise:
    """Guidance at the request's scale, rescaled and in its interval of noise levels. guidance: scale -> denoisers."""
    guided = guidance(request.scale)
    low, high, phi = request.guide_low, request.guide_high, request.rescale
    if request.scale == 1 or always_guided(request):
        return guided
    plain = guidance(1)

    def at(step: int) -> Denoiser:
        denoise = guided(step) if phi == 0 else rescaled(guided(step), plain(step), phi)
        return within(denoise, plain(step), low, float("inf") if high is None else high)

    return at


def bounded(
    denoise: Denoiser, tile: int | None, canvas: Canvas | None, clean: Tensor | None, encode: Map, decode: Map
) -> Denoiser:
    """A denoiser that works in tiles, and keeps to what is known of the canvas.

    tile: in latent pixels. clean (B, Z, h, w): the canvas's image, encoded. encode, decode: the VAE's.
    """
    if tile is not None:
        denoise = tiled(denoise, tile, overlap(tile, 1))
    if canvas is None or clean is None:
        return denoise
    if canvas.keep_luminance:
        image = canvas.image.to(clean)
        denoise = projected(denoise, lambda guess: encode(with_luminance(decode(guess), image)))
    return denoise if canvas.mask is None else inpainted(denoise, clean, hole(canvas.mask, clean))


def hole(mask: Tensor, clean: Tensor) -> Tensor:
    """The mask of a picture (1, 1, H, W) for its latents (B, Z, h, w): 1 where any pixel is. -> (1, 1, h, w)"""
    return F.adaptive_max_pool2d(mask.to(clean), clean.shape[-2:])


def enlarged(latents: Tensor, request: Request, factor: int, encode: Map, decode: Map) -> Tensor:
    """The latents of a first pass at the size of the second, whose request is given: to be drawn on.

    Interpolating latents blurs them, and leaves the details to the second pass. Pictures, enlarged and encoded again,
    come through sharper, and need less strength. factor: pixels of a latent pixel.
    """
    if not request.hires_pixels:
        size = request.height // factor, request.width // factor
        return F.interpolate(latents, size, mode="bilinear", antialias=True)
    pictures = F.interpolate(decode(latents), (request.height, request.width), mode="bicubic", antialias=True)
    return torch.cat([encode(picture[None]) for picture in pictures.clamp(-1, 1)])
