"""The whole model: text encoder, U-Net and VAE, that together turn a request into pictures.

B pictures of H x W pixels, their latents (B, Z, H/f, W/f).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from ..clip.model import TextEncoder
from ..clip.tokenizer import CLIP_SIZE, Tokenizer
from ..conditioning import Conditioning
from ..models.families import Family
from ..prompts.conditioner import Tower, encode_prompts
from ..request import Request
from ..runtime.allocator import reused
from ..runtime.checks import numbers
from ..runtime.device import layout
from ..runtime.finite import broken
from ..runtime.seamless import seamless
from ..unet import UNet
from ..vae import VAE
from ..vae.tiled import tiled_decode
from . import drawing, encoding, keeping
from .additions import KINDS, with_additions
from .caveats import tell_unlearnt
from .fast import faster
from .given import Given
from .job import Job, resolve
from .makers.depth_estimate import with_estimator
from .refining import with_refiner

if TYPE_CHECKING:
    from ..models.depth import Estimator
    from .about import Files
    from .additions import Addition
    from .init_image import Picture
    from .memory import Memory


class LatentDiffusion:
    """A latent diffusion model. Rombach et al. 2022, fig. 3.

    text        TextEncoder   tokens -> what the U-Net reads; `towers` has all text encoders
    unet        UNet          noisy latent, time and text -> the noise in it
    vae         VAE           picture <-> latent
    tokenizer   Tokenizer     text -> tokens
    family      Family        the noise of training, what the U-Net predicts, a request's defaults
    name                      what a picture's metadata call the model
    prediction_reason, dtype_reason   what the U-Net predicts, in what numbers; and why
    refiners    models by what requests call them, which may do the last steps
    about       what a picture's metadata call it: its name, or that and its files, see `Files`
    opened      networks that requests have added, by their files
    lasting     additions that are around every drawing, whether its request asks or not
    fast        whether requests take what is faster where they leave it open, see `faster`
    others      what sees a picture in some families, see `Checkpoint`
    depth       what estimates depth where none is given, if its file had that
    memory      how much it may take, if that is limited
    """

    def __init__(
        self,
        text: TextEncoder | Sequence[TextEncoder],
        unet: UNet,
        vae: VAE,
        tokenizer: Tokenizer,
        family: Family,
        name: str | None = None,
    ) -> None:
        encoders = [text] if isinstance(text, TextEncoder) else list(text)
        for network in (*encoders, unet, vae):
            network.eval().requires_grad_(False)
        self.towers = [
            Tower(tokenizer.padded_with(encoder.config.pad), encoder) for encoder in encoders
        ]
        self.unet, self.vae, self.family = unet, vae, family
        self.name = family.name if name is None else name
        self.prediction_reason = f"{family.prediction}, as its family says"
        self.dtype_reason = f"{self.dtype}, as it was built"
        self.refiners: dict[str, LatentDiffusion] = {}
        self.about: str | Files = self.name
        self.opened: dict[str, Any] = {}
        self.lasting: list[Addition] = []
        self.fast = False
        self.others = nn.ModuleDict()
        self.depth: Estimator | None = None
        self.memory: Memory | None = None

    @property
    def text(self) -> TextEncoder:
        """The first text encoder, for most families the only one."""
        return self.towers[0].encoder

    @property
    def tokenizer(self) -> Tokenizer:
        return self.towers[0].tokenizer

    @property
    def device(self) -> torch.device:
        return self.unet.out.weight.device if self.memory is None else self.memory.device

    @property
    def dtype(self) -> torch.dtype:
        """Of U-Net and text encoders. Latents between steps are always float32."""
        return self.unet.out.weight.dtype

    def __repr__(self) -> str:
        return f"<{self.name}: {self.family.name}, {self.device}, {self.dtype}>"

    # What a model is asked for, where it is, and the way from a picture: see the modules
    txt2img, img2img = drawing.txt2img, drawing.img2img
    inpaint, outpaint = drawing.inpaint, drawing.outpaint
    generate, steps, lora = drawing.generate, drawing.steps, drawing.lora
    to, save, encode = keeping.to, keeping.save, encoding.encode

    def resolve(
        self,
        request: Request,
        image: Picture | None = None,
        mask: Picture | None = None,
        *,
        latents: Tensor | None = None,
        noise: Tensor | None = None,
        conditioning: Conditioning | Sequence[Conditioning] | None = None,
        depth: Picture | None = None,
    ) -> Job:
        """What a request is for this model, see `pipeline.job.resolve` and `Given`."""
        if isinstance(conditioning, Conditioning):
            conditioning = [conditioning]
        request = faster(request, self.family) if self.fast else request
        told = None if conditioning is None else tuple(conditioning)
        nothing = latents is None and noise is None and told is None
        given = None if nothing else Given(latents, noise, told)
        job = resolve(request, self.family, image, mask, given, depth)
        if "depth" in self.family.conditioning and job.depth is None:
            job = with_estimator(self, job)
        if any(getattr(request, name) is not None for kind in KINDS.values() for name in kind):
            job = with_additions(self, job)
        return job if request.refiner is None else with_refiner(self, job)

    @torch.no_grad()
    def conditioning(
        self,
        texts: Sequence[str],
        prompt_syntax: str = "a1111",
        clip_skip: int | None = None,
        repeat_chunks: bool = False,
    ) -> Conditioning:
        """What the U-Net is told of B texts; as long as the longest. See `encode_prompts`."""
        if len(self.tokenizer) < CLIP_SIZE and self.tokenizer.unusual(texts):
            tell_unlearnt(self, texts, prompt_syntax)
        read = partial(encode_prompts, self.towers, texts, prompt_syntax, clip_skip, repeat_chunks)
        encoded = read()
        if not encoded.context.isfinite().all():
            modules = {f"text{i or ''}": tower.encoder for i, tower in enumerate(self.towers)}
            raise broken(lambda: read().context, modules, "reading the prompt")
        return encoded

    @torch.no_grad()
    def decode(self, latents: Tensor, tile: int | None = None, axes: str | None = None) -> Tensor:
        """Latents -> (B, 3, H, W) in [-1, 1], float32. Others: see `encode`."""
        numbers(latents, "latents", (None, self.vae.config.latent_channels, None, None))
        tile = self.memory.tile if tile is None and self.memory is not None else tile
        run = self.vae.decode if tile is None else partial(tiled_decode, self.vae, tile=tile)
        return self.one_by_one(run, latents, axes, "decoding the picture").clamp(-1, 1)

    def one_by_one(
        self, run: Callable[[Tensor], Tensor], x: Tensor, axes: str | None, doing: str
    ) -> Tensor:
        """run(x), the VAE's work, of one of B after the other; in bfloat16 where the U-Net computes
        in it. NotFinite names what broke it."""
        x = x.to(next(self.vae.parameters()), memory_format=layout(self.device))
        parts = x.chunk(len(x))
        half = torch.autocast(self.device.type, torch.bfloat16, self.dtype == torch.bfloat16)
        kept = reused() if x[0].numel() >= 4096 else nullcontext()
        with half, kept, seamless(self.vae, axes) if axes else nullcontext():
            made = [run(part) for part in parts]
            for part, result in zip(parts, made):
                if not result.isfinite().all():
                    raise broken(partial(run, part), {"vae": self.vae}, doing)
        return torch.cat(made).float()
