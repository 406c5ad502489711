"""The two stages of latent diffusion. Rombach et al. 2022: first sec. 3.1, the autoencoder; then sec. 3.2 and 3.3.

B batch, H x W size of a picture, h x w size of its latent, Z latent channels, L tokens of a caption.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..clip.model import TextEncoder
from ..clip.tokenizer import Tokenizer
from ..families import Family
from ..images import grid, to_pil
from ..samplers import SAMPLERS, SCHEDULES, ModelDenoiser, Noise, guided
from ..unet import UNet
from ..vae import VAE
from .data import Data
from .losses import kl_loss, perceptual_loss, reconstruction_loss


def draw(count: int, high: int, generator: torch.Generator) -> Tensor:
    """count whole numbers in 0..high-1. (count,) int64"""
    return torch.randint(high, (count,), generator=generator)


def draw_steps(count: int, steps: int, generator: torch.Generator) -> Tensor:
    """Training steps t, mostly middle ones: a standard normal variable, squashed into 0..steps-1. (count,) int64

    There is little to learn where nearly all is noise, and where next to nothing is: what stands where, and what it
    is, is decided between. Esser et al. 2024, sec. 3.1, "logit-normal sampling".
    """
    return (torch.sigmoid(torch.randn(count, generator=generator)) * steps).long()


def examples(data: Data, indices: Iterable[int], device: torch.device) -> tuple[Tensor, list[str]]:
    """Pictures (B, 3, H, W) float32 in [-1, 1], and their captions."""
    pixels, captions = zip(*(data[i] for i in indices), strict=True)
    return torch.from_numpy(np.stack(pixels)).to(device).permute(0, 3, 1, 2).float() / 127.5 - 1, list(captions)


def write_grid(images: Tensor, columns: int, path: Path) -> None:
    grid(to_pil(images), columns).save(path)


@dataclass
class AutoencoderStage:
    """The VAE learns to give back crops of the pictures: it is convolutional, so what holds for crops holds for all.

    crop                  side of the crops, in pixels; `crops` of them are cut from each picture
    perceptual, kl        weights of these losses beside the reconstruction's
    """

    module: VAE
    data: Data
    crop: int
    crops: int
    perceptual: float
    kl: float

    def loss(self, module: VAE, batch: int, generator: torch.Generator) -> Mapping[str, Tensor]:
        device = module.post_quant.weight.device
        images, _ = examples(self.data, draw(batch // self.crops, len(self.data), generator).tolist(), device)
        tops = draw(batch, images.shape[2] - self.crop + 1, generator).tolist()
        lefts = draw(batch, images.shape[3] - self.crop + 1, generator).tolist()
        target = torch.stack(
            [
                images[i // self.crops, :, top : top + self.crop, left : left + self.crop]
                for i, (top, left) in enumerate(zip(tops, lefts, strict=True))
            ]
        ).contiguous(memory_format=torch.channels_last)
        mean, log_variance = (moment.float() for moment in module.moments(target))
        noise = torch.randn(mean.shape, generator=generator).to(device)
        decoded = module.decode((mean + torch.exp(0.5 * log_variance) * noise) * module.config.scale).float()
        reconstruction = reconstruction_loss(decoded, target)
        perceptual = perceptual_loss(decoded, target)
        kl = kl_loss(mean, log_variance)
        loss = reconstruction + self.perceptual * perceptual + self.kl * kl
        return {"loss": loss, "reconstruction": reconstruction, "perceptual": perceptual, "kl": kl}

    @torch.inference_mode()
    def sample(self, module: VAE, path: Path) -> None:
        """Eight pictures above what the autoencoder makes of them."""
        images, _ = examples(self.data, range(min(8, len(self.data))), module.post_quant.weight.device)
        write_grid(torch.cat([images, module.decode(module.encode(images))]), len(images), path)


@dataclass
class DecoderStage:
    """The decoder alone goes on learning, on whole pictures, while the latents stay what they are.

    latents (N, Z, h, w)   of the pictures
    noise                  standard deviation of what is added to them, so that the decoder forgives a generated
                           latent its small mistakes
    perceptual             as in AutoencoderStage
    """

    module: VAE
    data: Data
    latents: Tensor
    noise: float
    perceptual: float

    def __post_init__(self) -> None:
        self.module.requires_grad_(False)
        self.module.post_quant.requires_grad_(True)
        self.module.decoder.requires_grad_(True)

    def loss(self, module: VAE, batch: int, generator: torch.Generator) -> Mapping[str, Tensor]:
        device = module.post_quant.weight.device
        chosen = draw(batch, len(self.latents), generator)
        target, _ = examples(self.data, chosen.tolist(), device)
        latents = self.latents[chosen].float()
        latents = latents + self.noise * torch.randn(latents.shape, generator=generator)
        decoded = module.decode(latents.to(device).contiguous(memory_format=torch.channels_last)).float()
        reconstruction = reconstruction_loss(decoded, target)
        perceptual = perceptual_loss(decoded, target)
        loss = reconstruction + self.perceptual * perceptual
        return {"loss": loss, "reconstruction": reconstruction, "perceptual": perceptual}

    @torch.inference_mode()
    def sample(self, module: VAE, path: Path) -> None:
        """Eight pictures above what the decoder makes of their latents."""
        images, _ = examples(self.data, range(min(8, len(self.data))), module.post_quant.weight.device)
        decoded = module.decode(self.latents[: len(images)].float().to(images.device))
        write_grid(torch.cat([images, decoded]), len(images), path)


class TextAndHead(nn.Module):
    """A text encoder, and a small network that makes a latent of what it says on average."""

    def __init__(self, text: TextEncoder, latent: torch.Size) -> None:
        super().__init__()
        self.text = text
        self.head = nn.Sequential(
            nn.Linear(text.config.width, 1024), nn.SiLU(), nn.Linear(1024, latent.numel()), nn.Unflatten(1, latent)
        )

    def forward(self, ids: Tensor) -> Tensor:
        """(B, L) -> (B, Z, h, w)"""
        return self.head(self.text(ids).last.mean(dim=1))  # type: ignore[no-any-return]


@dataclass
class TextStage:
    """The text encoder learns to foretell the latent of a caption's picture: the mean of all that fit.

    Stable Diffusion's text encoder came from CLIP, where it had learnt from pictures what captions mean. A U-Net whose
    text encoder has learnt nothing yet ignores it for thousands of steps; this costs a tenth of those. The average over
    all tokens is what a cross-attention reads that has not learnt either.

    latents (N, Z, h, w), ids (N, L)   the pictures and captions, encoded
    """

    module: TextAndHead
    vae: VAE
    latents: Tensor
    ids: Tensor

    def loss(self, module: TextAndHead, batch: int, generator: torch.Generator) -> Mapping[str, Tensor]:
        chosen = draw(batch, len(self.latents), generator)
        device = self.vae.post_quant.weight.device
        foretold = module(self.ids[chosen].to(device))
        return {"loss": F.mse_loss(foretold.float(), self.latents[chosen].to(device).float())}

    @torch.inference_mode()
    def sample(self, module: TextAndHead, path: Path) -> None:
        """Eight latents, decoded, above what is foretold of their captions."""
        device = self.vae.post_quant.weight.device
        both = torch.cat([self.latents[:8].to(device).float(), module(self.ids[:8].to(device)).float()])
        write_grid(self.vae.decode(both), 8, path)


class TextAndUNet(nn.Module):
    """The two networks that learn together: one says what the other draws. head: as in TextAndHead, or None."""

    def __init__(self, text: TextEncoder, unet: UNet, head: nn.Module | None = None) -> None:
        super().__init__()
        self.text, self.unet, self.head = text, unet, head


@dataclass
class DiffusionStage:
    """The U-Net learns to predict the noise in a latent from its caption, and the text encoder what to tell it.

    With a head the text encoder goes on foretelling beside, and so keeps what it knows: a U-Net finds what stands where
    in all but the noisiest latents, and asks so seldom for it that the text encoder forgets to say it.

    latents (N, Z, h, w), ids (N, L)   the pictures and captions, encoded
    dropped                            part of the captions that are replaced by "", for classifier-free guidance
    logit_normal                       whether middle training steps are drawn more often, or all alike
    gamma                              of min-SNR weights, or None; see ModelDenoiser.loss
    prompts                            what `sample` draws
    """

    module: TextAndUNet
    family: Family
    vae: VAE
    tokenizer: Tokenizer
    latents: Tensor
    ids: Tensor
    dropped: float
    logit_normal: bool
    gamma: float | None
    prompts: list[str]

    def __post_init__(self) -> None:
        self.schedule = self.family.noise_schedule()

    def loss(self, module: TextAndUNet, batch: int, generator: torch.Generator) -> Mapping[str, Tensor]:
        device = self.vae.post_quant.weight.device
        chosen = draw(batch, len(self.latents), generator)
        clean = self.latents[chosen].to(device).float().contiguous(memory_format=torch.channels_last)
        unconditional = torch.rand(batch, 1, generator=generator) < self.dropped
        ids = torch.where(unconditional, self.tokenizer([""]), self.ids[chosen]).to(device)
        drawn = draw_steps if self.logit_normal else draw
        t = drawn(batch, len(self.schedule), generator).to(device)
        noise = torch.randn(clean.shape, generator=generator).to(device)
        denoiser = ModelDenoiser(module.unet, self.schedule, self.family.prediction)
        context = module.text(ids).last
        diffusion = denoiser.loss(clean, context, t, noise, self.gamma).mean()
        if module.head is None:
            return {"loss": diffusion}
        foretold = F.mse_loss(module.head(context.mean(dim=1)).float(), clean)
        return {"loss": diffusion + foretold, "diffusion": diffusion, "foretold": foretold}

    @torch.inference_mode()
    def sample(self, module: TextAndUNet, path: Path) -> None:
        """What the model draws for each of the prompts."""
        family, device = self.family, self.vae.post_quant.weight.device
        positive, negative = (
            module.text(self.tokenizer(texts).to(device)).last for texts in (self.prompts, [""] * len(self.prompts))
        )
        denoiser = ModelDenoiser(module.unet, self.schedule, family.prediction)
        sigmas = SCHEDULES[family.schedule](self.schedule, family.steps)
        noise = Noise(range(len(self.prompts)))
        x = noise(torch.empty(len(self.prompts), *self.latents.shape[1:], device=device)) * sigmas[0]
        *_, last = SAMPLERS[family.sampler].run(guided(denoiser, positive, negative, family.scale), x, sigmas, noise)
        write_grid(self.vae.decode(last.x), 8, path)
