"""The whole path: a text encoder, a U-Net and a VAE that together turn a request into pictures.

B pictures of H x W pixels, their latents (B, Z, H/f, W/f).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from .clip.model import TextEncoder
from .clip.tokenizer import Tokenizer
from .device import choose_device, choose_dtype, free_memory
from .families import Family
from .finite import NotFinite, finite
from .images import fit, open_image, rgb, to_pil, to_tensor
from .plan import multiple, noise_levels, settle, takes_eta
from .request import Request, infotext
from .samplers import SAMPLERS, Denoiser, ModelDenoiser, Noise, Step, guided
from .unet import UNet
from .vae import VAE
from .weights import read

if TYPE_CHECKING:
    from PIL.Image import Image

    Picture = str | Path | Image | Tensor  # a file, PIL's, or (1, 3, H, W) in [-1, 1]


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

    def txt2img(self, prompt: str | Sequence[str], *, batch: int | None = None, **options: Any) -> list[Image]:
        """Pictures of a prompt, or of each of several. The options are the fields of `Request`: negative, steps,
        sampler, schedule, scale, eta, seed, width, height, count."""
        return self.generate(Request(prompt, **options), batch=batch)  # type: ignore[arg-type]  # any sequence will do

    def img2img(
        self,
        prompt: str | Sequence[str],
        image: Picture,
        strength: float = 0.75,
        *,
        batch: int | None = None,
        **options: Any,
    ) -> list[Image]:
        """Pictures of a prompt that start from a picture: strength 0 gives it back, 1 leaves next to nothing of it.

        Its size becomes width x height if they are among the options, else the next smaller one that the model takes.
        """
        request = Request(prompt, strength=strength, **options)  # type: ignore[arg-type]
        return self.generate(request, image, batch)

    def generate(self, request: Request, image: Picture | None = None, batch: int | None = None) -> list[Image]:
        """The pictures of a request, `batch` of them at once; None: as many as memory has room for."""
        request, start = self.settle(request, image)
        pictures = []
        for part in request.split(self.batch_size(request) if batch is None else batch):
            for step in self.steps(part, start):
                latents = step.x
            pictures += self.pictures(latents)
        return pictures

    def steps(self, request: Request, image: Picture | None = None) -> Iterator[Step]:
        """Step after step of all the pictures of a request in one batch; `decode(step.denoised)` is a preview.

        From an image only the last steps run, see `noise_levels`. If that is none, the only step is the image itself.
        """
        return self._steps(*self.settle(request, image))

    @torch.inference_mode()
    def _steps(self, request: Request, start: Tensor | None) -> Iterator[Step]:
        sigmas = noise_levels(request, self.family)
        noise = Noise(range(request.seed, request.seed + request.total))
        x = self.first_latents(request, start, sigmas[0], noise)
        if len(sigmas) == 1:
            yield Step(0, 0.0, x, x)
            return
        model, done = self.denoiser(request), 0

        def denoise(x: Tensor, sigma: float) -> Tensor:
            return finite(lambda: model(x, sigma), {"unet": self.unet}, f"step {done + 1} of {len(sigmas) - 1}")

        sampler = SAMPLERS[request.sampler]
        options = {"eta": request.eta} if request.eta is not None and takes_eta(sampler.name) else {}
        for step in sampler.run(denoise, x, sigmas, noise, **options):
            done = step.index + 1
            yield step

    def settle(self, request: Request, image: Picture | None = None) -> tuple[Request, Tensor | None]:
        """The request with every default filled in, checked; and the picture it starts from, (1, 3, H, W)."""
        image = request.image if image is None else image
        if image is None or isinstance(image, Tensor):
            return settle(request, self.family, image), image
        picture = open_image(image) if isinstance(image, str | Path) else rgb(image)
        start = to_tensor(fit(picture, multiple(self.family), request.width, request.height))
        return settle(request, self.family, start), start

    def first_latents(self, request: Request, start: Tensor | None, sigma: float, noise: Noise) -> Tensor:
        """Where sampling starts: the encoded picture, or an unknown one of variance 1, under noise of sigma."""
        if start is not None:
            clean = self.encode(start).expand(request.total, -1, -1, -1)
            return clean + sigma * noise(clean) if sigma > 0 else clean
        height, width = request.height // self.vae.factor, request.width // self.vae.factor
        unknown = torch.zeros(request.total, self.unet.config.in_channels, height, width, device=self.device)
        return math.sqrt(1 + sigma**2) * noise(unknown)

    def denoiser(self, request: Request) -> Denoiser:
        """D(x, sigma) for the pictures of a settled request: the U-Net, guided by the prompts."""
        model = ModelDenoiser(self.unet, self.family.noise_schedule(), self.family.prediction)
        negative = None
        if request.scale != 1:
            negative = self.conditioning([request.negative]).expand(request.total, -1, -1)
        return guided(model, self.conditioning(request.prompts * request.count), negative, request.scale)

    @torch.inference_mode()
    def conditioning(self, texts: Sequence[str]) -> Tensor:
        """What the U-Net reads of B texts. -> (B, L, D)"""
        ids = self.tokenizer(texts).to(self.device)
        return finite(lambda: self.text(ids).last, {"text": self.text}, "reading the prompt")

    @torch.inference_mode()
    def encode(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) in [-1, 1] -> latents, float32."""
        images = images.to(self.device, self.vae.quant.weight.dtype)
        return finite(lambda: self.vae.encode(images), {"vae": self.vae}, "encoding the image").float()

    @torch.inference_mode()
    def decode(self, latents: Tensor) -> Tensor:
        """Latents -> (B, 3, H, W) in [-1, 1], float32; one by one, for the sake of memory."""
        return torch.cat([self._decode(latent[None]) for latent in latents])

    def _decode(self, latent: Tensor) -> Tensor:
        latent = latent.to(self.device, self.vae.quant.weight.dtype)
        image = finite(lambda: self.vae.decode(latent), {"vae": self.vae}, "decoding the picture")
        return image.float().clamp(-1, 1)

    def pictures(self, latents: Tensor) -> list[Image]:
        """Finished latents as 8-bit pictures. One that is black all over is an error."""
        images = self.decode(latents)
        if (images.amax((1, 2, 3)) == -1).any():
            raise NotFinite("a picture is black all over, and was not kept: try --dtype float32, or a smaller --scale")
        return to_pil(images)

    def metadata(self, request: Request) -> dict[str, str]:
        """What a PNG of a settled request should keep: the request as JSON, and what the web UIs read."""
        label = SAMPLERS[request.sampler].label
        return {"parameters": infotext(request, label, self.name), "ldm": request.to_json()}

    def batch_size(self, request: Request) -> int:
        """How many pictures of a settled request memory has room for at once; a careful estimate, at most 16."""
        if SAMPLERS[request.sampler].adaptive:
            return 1
        pixels = request.width * request.height // self.vae.factor**2
        both = 1 if request.scale == 1 else 2
        maps = 32 * both * pixels * self.unet.config.channels[0] * self.dtype.itemsize  # of the finest level
        return max(1, min(16, free_memory(self.device) // 2 // maps))


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
    path = built_in() if path is None else Path(path).expanduser().resolve()
    where = choose_device(device)
    dtype, _ = choose_dtype(where, dtype)
    found = read(path, dtype, where, ema)
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
