"""The whole path: a text encoder, a U-Net and a VAE that together turn a request into pictures.

B pictures of H x W pixels, their latents (B, Z, H/f, W/f).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from .canvas import Canvas
from .clip.conditioning import Emphasis, encode_prompts
from .clip.model import TextEncoder
from .clip.tokenizer import Tokenizer
from .device import choose_device, choose_dtype, free_memory, layout
from .families import Family
from .finite import NotFinite, finite
from .metadata import texts
from .plan import finished, noise_schedule, prepare, settle
from .programs import PROGRAMS
from .prompts import groups, guidance
from .request import Request
from .samplers import SAMPLERS, Denoiser, ModelDenoiser, Step
from .sampling import always_guided, overlap, sample, tempered
from .seamless import seamless
from .unet import UNet
from .vae import VAE
from .vae.tiled import tiled_decode, tiled_encode
from .weights import read

if TYPE_CHECKING:
    from PIL.Image import Image

    from .plan import Picture

    Start = Picture | Canvas | None
    Prompt = str | Sequence[str]


class LatentDiffusion:
    """A latent diffusion model. Rombach et al. 2022, fig. 3.

    text        TextEncoder   tokens -> what the U-Net reads
    unet        UNet          noisy latent, time and text -> the noise in it
    vae         VAE           picture <-> latent
    tokenizer   Tokenizer     text -> tokens
    family      Family        the schedule of the noise, what the U-Net predicts, and a request's defaults
    name                      what a picture's metadata call the model
    """

    def __init__(
        self, text: TextEncoder, unet: UNet, vae: VAE, tokenizer: Tokenizer, family: Family, name: str | None = None
    ) -> None:
        self.text, self.unet, self.vae = text.eval(), unet.eval(), vae.eval()
        self.tokenizer, self.family = tokenizer, family
        self.name = family.name if name is None else name

    @property
    def device(self) -> torch.device:
        return self.unet.out.weight.device

    @property
    def dtype(self) -> torch.dtype:
        """The number format of the U-Net and the text encoder. Latents between steps are always float32."""
        return self.unet.out.weight.dtype

    def to(self, device: str | torch.device | None = None, dtype: torch.dtype | None = None) -> LatentDiffusion:
        """Move the networks and change their number format, in place.

        The VAE computes in float32 all the same: it runs once a picture, which shows the rounding of 16 bits, and some
        families' VAE overflows in float16.
        """
        where = self.device if device is None else choose_device(device)
        self.text.to(where, dtype)
        self.unet.to(where, dtype)
        self.vae.to(where, torch.float32)
        return self

    def txt2img(self, prompt: Prompt, *, batch: int | None = None, **options: Any) -> list[Image]:
        """Pictures of a prompt, or of each of several. The options are the fields of `Request`: negative, steps,
        sampler, schedule, scale, eta, seed, width, height, count."""
        return self.generate(Request(prompt, **options), batch=batch)  # type: ignore[arg-type]  # any sequence will do

    def img2img(
        self, prompt: Prompt, image: Picture, strength: float = 0.75, *, batch: int | None = None, **options: Any
    ) -> list[Image]:
        """Pictures of a prompt that start from a picture: strength 0 gives it back, 1 leaves next to nothing of it.

        Its size becomes width x height if they are among the options, else the next smaller one that the model takes.
        """
        request = Request(prompt, strength=strength, **options)  # type: ignore[arg-type]
        return self.generate(request, image, batch)

    def inpaint(
        self, prompt: Prompt, image: Picture, mask: Picture, *, batch: int | None = None, **options: Any
    ) -> list[Image]:
        """A picture repainted where the mask is white, from noise; strength < 1 leaves something of what was there.

        Where the mask is black not a bit changes, unless it is feathered. Options: mask_blur, feather, repaint_from,
        only_masked, padding, match_colours, and all others of `Request`.
        """
        return self.generate(Request(prompt, **options), image, batch, mask)  # type: ignore[arg-type]

    def outpaint(self, prompt: Prompt, image: Picture, *, batch: int | None = None, **options: Any) -> list[Image]:
        """A picture continued by so many pixels: left, right, top, bottom. Other options as with `inpaint`."""
        return self.generate(Request(prompt, **options), image, batch)  # type: ignore[arg-type]

    def generate(
        self, request: Request, image: Start = None, batch: int | None = None, mask: Picture | None = None
    ) -> list[Image]:
        """The pictures of a request, `batch` of them at once; None: as many as memory has room for."""
        request, canvas = self.settle(request, image, mask)
        pictures: list[Image] = []
        for part in request.split(self.batch_size(request) if batch is None else batch):
            for step in self.steps(part, canvas):
                latents = step.x
            pictures += self.pictures(latents, request, canvas)
        return list(request.kept(pictures))

    def steps(self, request: Request, image: Start = None, record: list[Tensor] | None = None) -> Iterator[Step]:
        """Step after step of all the pictures of a request in one batch; `decode(step.denoised)` is a preview.

        From an image only the last steps run, see `noise_levels`. If that is none, the only step is the image itself.
        record: every result of the denoiser is added to it; what it holds already is not computed again (`recorded`).
        """
        return self._steps(*self.settle(request, image), record)

    @torch.inference_mode()
    def _steps(self, request: Request, canvas: Canvas | None, record: list[Tensor] | None) -> Iterator[Step]:
        yield from sample(self, request, canvas, record)

    def settle(
        self, request: Request, image: Start = None, mask: Picture | None = None
    ) -> tuple[Request, Canvas | None]:
        """The request with every default filled in, checked; and what it starts from, if not from noise alone."""
        image, mask = request.image if image is None else image, request.mask if mask is None else mask
        if image is not None and not isinstance(image, Canvas):
            image = prepare(request, self.family, image, mask)
        return settle(request, self.family, image), image

    def denoiser(self, request: Request, steps: int, earlier: int = 0) -> Callable[[int], Denoiser]:
        """D(x, sigma) for the pictures of a settled request, step by step: the U-Net, guided by the prompts, which may
        change. steps: how many there are, as `Program.change` counts them; earlier: how many a first pass had."""
        schedule, prediction = noise_schedule(request, self.family), self.family.prediction
        # one time for all pictures, so that no rounding in its embedding tells how many they are
        model = ModelDenoiser(lambda x, t, context: self.unet(x, t[:1], context), schedule, prediction)
        repeats = PROGRAMS[request.compat].repeats
        encode = partial(self.conditioning, emphasis=request.emphasis, clip_skip=request.clip_skip, repeats=repeats)
        own = groups(request, self.tokenizer, steps, earlier, repeats)
        return tempered(request, lambda scale: guidance(model, own, encode, scale))

    @torch.inference_mode()
    def conditioning(
        self, texts: Sequence[str], emphasis: Emphasis = "a1111", clip_skip: int = 1, repeats: bool = False
    ) -> Tensor:
        """What the U-Net reads of B texts; L grows with the longest of them. See `encode_prompts`. -> (B, L, D)"""
        return finite(
            lambda: encode_prompts(self.tokenizer, self.text, texts, emphasis, clip_skip, repeats),
            {"text": self.text},
            "reading the prompt",
        )

    @torch.inference_mode()
    def encode(
        self, images: Tensor, tile: int | None = None, axes: str | None = None, noise: Tensor | None = None
    ) -> Tensor:
        """(B, 3, H, W) in [-1, 1] -> latents, float32; one by one. tile, axes: `tile` and `seamless` of a Request.
        noise: see `VAE.encode`; of one image several latents may be picked, but not in tiles."""
        run = partial(self.vae.encode, noise=noise)
        if tile is not None:
            run = partial(tiled_encode, self.vae, tile=tile, overlap=overlap(tile, self.vae.factor))
        return self._one_by_one(run, images, axes, "encoding the image")

    @torch.inference_mode()
    def decode(self, latents: Tensor, tile: int | None = None, axes: str | None = None) -> Tensor:
        """Latents -> (B, 3, H, W) in [-1, 1], float32; one by one, to save memory. tile, axes: as in `encode`."""
        run: Callable[[Tensor], Tensor] = self.vae.decode
        if tile is not None:
            run = partial(tiled_decode, self.vae, tile=tile, overlap=overlap(tile, self.vae.factor))
        return self._one_by_one(run, latents, axes, "decoding the picture").clamp(-1, 1)

    def _one_by_one(self, run: Callable[[Tensor], Tensor], x: Tensor, axes: str | None, doing: str) -> Tensor:
        """run(x), a function of the VAE, float32: of each of B by itself, to save memory."""
        parts = x.to(self.device, self.vae.quant.weight.dtype, memory_format=layout(self.device)).chunk(len(x))
        with seamless(self.vae, axes):
            return torch.cat([finite(partial(run, part), {"vae": self.vae}, doing) for part in parts]).float()

    def pictures(self, latents: Tensor, request: Request, canvas: Canvas | None = None) -> list[Image]:
        """Finished latents of a settled request as 8-bit pictures. One that is black all over is an error.

        canvas: what sampling started from; None: what the request says.
        """
        images = self.decode(latents, request.tile, request.seamless)
        if (images.amax((1, 2, 3)) == -1).any():
            raise NotFinite("a picture is black all over, and was not kept: try --dtype float32, or a smaller --scale")
        return finished(images, request, self.settle(request)[1] if canvas is None else canvas)

    def singles(self, request: Request) -> list[Request]:
        """For each picture of a settled request, drawn in one batch, the request that draws it again, and it alone."""
        if PROGRAMS[request.compat].alone:
            return request.split(1)
        return [replace(request, only=i) for i in range(request.total)]

    def metadata(self, request: Request) -> dict[str, str]:
        """What the file of a picture should keep of its settled request, see `texts`."""
        return texts(request, self.name)

    def batch_size(self, request: Request) -> int:
        """How many pictures of a settled request memory has room for at once; a careful estimate, at most 16.

        All of them where they share their noise, and one where its batch would show in it: see `always_guided`.
        """
        if not PROGRAMS[request.compat].alone:
            return request.total
        if SAMPLERS[request.sampler].adaptive or (self.device.type == "cpu" and not always_guided(request)):
            return 1
        area = request.width * request.height * (1 if request.hires is None else request.hires**2)
        pixels = round(min(area, area if request.tile is None else request.tile**2)) // self.vae.factor**2
        maps = (32 if request.scale == 1 else 64) * self.unet.config.channels[0]  # of the finest level
        return max(1, min(16, free_memory(self.device) // 2 // (maps * pixels * self.dtype.itemsize)))


def load(
    path: str | Path | None = None,
    device: str | torch.device | None = None,
    dtype: torch.dtype | None = None,
    ema: bool | None = None,
) -> LatentDiffusion:
    """A model, ready to draw.

    path     a CompVis checkpoint, a diffusers folder, or a file of this library's; None: the model that comes with it
    device   None: the first there is of cuda, mps, cpu
    dtype    None: what suits the device, see `choose_dtype`
    ema      whether to take the moving averages of the U-Net's weights; None: if the file has them
    """
    path = built_in() if path is None else Path(os.path.expanduser(path)).resolve()
    where = choose_device(device)
    dtype, _ = choose_dtype(where, dtype)
    found = read(path, dtype, where, ema, vae_dtype=torch.float32)  # see `to`
    tokenizer = Tokenizer(found.merges, found.family.text.length)
    name = path.name if path.is_dir() else path.stem
    return LatentDiffusion(found.text, found.unet, found.vae, tokenizer, found.family, name).to(where, dtype)


def built_in() -> Path:
    """The file of the model that comes with this library."""
    found = sorted((Path(__file__).parent / "assets").glob("*.safetensors"))
    if len(found) != 1:
        there = f"has {len(found)} built-in models ({', '.join(map(str, found))})" if found else "has no built-in model"
        raise ValueError(f"this copy of ldm {there}: give the path of a checkpoint")
    return found[0]
