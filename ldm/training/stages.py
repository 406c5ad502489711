"""The stages of latent diffusion, each a loss over random batches. `distillation` has one more.

Rombach et al. 2022 have two: the autoencoder (sec. 3.1) and the U-Net with its text encoder (sec.
3.2 and 3.3). Here a text encoder is trained before the U-Net, TextStage; the two together once more
after it, a second DiffusionStage; and the decoder once more at the end, DecoderStage.

B batch, H x W size of a picture, h x w size of its latent, Z latent channels, L tokens of a
caption.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor

from ..clip.tokenizer import Tokenizer
from ..conditioning import Conditioning
from ..images.saving import to_pil
from ..images.sheets import grid
from ..models.families import Family
from ..samplers import SAMPLERS, SCHEDULES, Denoiser, Guided, Noise, cfg
from ..vae import VAE
from .data import Data, examples
from .losses import kl_loss, pixel_losses
from .modules import Denoising, TextAndHead

D = TypeVar("D", bound=Denoising)


def draw(count: int, high: int, generator: torch.Generator) -> Tensor:
    """count whole numbers in 0..high-1. (count,) int64"""
    return torch.randint(high, (count,), generator=generator)


def draw_steps(count: int, steps: int, generator: torch.Generator) -> Tensor:
    """Training steps t, mostly middle ones: sigmoid(N(0, 1)) * steps. (count,) int64

    There is little to learn where nearly all is noise, and where next to nothing is: what stands
    where, and what it is, is decided between. After Esser et al. 2024, sec. 3.1, "logit-normal
    sampling", whose t is the time of a rectified flow; here it is DDPM's step index, so that the
    same density over t is another one over signal-to-noise ratios.
    """
    return (torch.sigmoid(torch.randn(count, generator=generator)) * steps).long()


def write_grid(images: Tensor, columns: int, path: Path) -> None:
    grid(to_pil(images), columns).save(path)


def sampled(denoise: Denoiser, family: Family, like: Tensor) -> Tensor:
    """Latents as the family draws them by default, of the seeds 0, 1, ...; of the shape of
    others."""
    sigmas = SCHEDULES[family.schedule](family.noise_schedule(), family.steps)
    noise = Noise(range(len(like)))
    *_, last = SAMPLERS[family.sampler].run(denoise, noise(like) * sigmas[0], sigmas, noise)
    return last.x


@dataclass
class AutoencoderStage:
    """The VAE, which is convolutional, learns to reconstruct crops, and so whole pictures.

    crop                      side of the crops, in pixels; `crops` of them are cut from a picture
    gradient_difference, kl   weights of these losses beside the reconstruction's
    """

    module: VAE
    data: Data
    crop: int
    crops: int
    gradient_difference: float
    kl: float

    def __post_init__(self) -> None:
        self.size = len(self.data[0][0])

    def draw(self, batch: int, generator: torch.Generator) -> Mapping[str, Tensor]:
        """Of each picture its number, and its crops' places and noise."""
        config, per_picture = self.module.config, (batch // self.crops, self.crops)
        chosen = draw(per_picture[0], len(self.data), generator)
        side, places = self.crop // config.factor, self.size - self.crop + 1
        tops, lefts = draw(batch, places, generator), draw(batch, places, generator)
        noise = torch.randn(batch, config.latent_channels, side, side, generator=generator)
        of_crops = {"tops": tops, "lefts": lefts, "noise": noise}
        shaped = {name: x.view(*per_picture, *x.shape[1:]) for name, x in of_crops.items()}
        return {"chosen": chosen, **shaped}

    def loss(self, module: VAE, drawn: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        device = module.post_quant.weight.device
        images, _ = examples(self.data, drawn["chosen"].tolist(), device)
        tops, lefts = drawn["tops"].flatten().tolist(), drawn["lefts"].flatten().tolist()
        crops = [
            images[i // self.crops, :, top : top + self.crop, left : left + self.crop]
            for i, (top, left) in enumerate(zip(tops, lefts, strict=True))
        ]
        target = torch.stack(crops).contiguous(memory_format=torch.channels_last)
        mean, log_variance = (moment.float() for moment in module.moments(target))
        noise = drawn["noise"].flatten(0, 1).to(device)
        latents = (mean + torch.exp(0.5 * log_variance) * noise) * module.config.scale
        terms = pixel_losses(module.decode(latents), target, self.gradient_difference)
        kl = kl_loss(mean, log_variance)
        return {**terms, "loss": terms["loss"] + self.kl * kl, "kl": kl}

    @torch.inference_mode()
    def sample(self, module: VAE, path: Path) -> None:
        """Eight pictures above what the autoencoder makes of them."""
        device = module.post_quant.weight.device
        images, _ = examples(self.data, range(min(8, len(self.data))), device)
        write_grid(torch.cat([images, module.decode(module.encode(images))]), len(images), path)


@dataclass
class DecoderStage:
    """The decoder alone goes on learning, on whole pictures, while the latents stay what they are.

    latents (N, Z, h, w)   of the pictures
    noise                  standard deviation of what is added to them, so that the decoder gets
                           used to the small mistakes of generated latents
    gradient_difference    as in AutoencoderStage
    """

    module: VAE
    data: Data
    latents: Tensor
    noise: float
    gradient_difference: float

    def __post_init__(self) -> None:
        self.module.requires_grad_(False)
        self.module.post_quant.requires_grad_(True)
        self.module.decoder.requires_grad_(True)

    def draw(self, batch: int, generator: torch.Generator) -> Mapping[str, Tensor]:
        chosen = draw(batch, len(self.latents), generator)
        noise = torch.randn(batch, *self.latents.shape[1:], generator=generator)
        return {"chosen": chosen, "noise": noise}

    def loss(self, module: VAE, drawn: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        device, chosen = module.post_quant.weight.device, drawn["chosen"]
        target, _ = examples(self.data, chosen.tolist(), device)
        latents = self.latents[chosen].float() + self.noise * drawn["noise"]
        latents = latents.to(device).contiguous(memory_format=torch.channels_last)
        return pixel_losses(module.decode(latents), target, self.gradient_difference)

    @torch.inference_mode()
    def sample(self, module: VAE, path: Path) -> None:
        """Eight pictures above what the decoder makes of their latents."""
        device = module.post_quant.weight.device
        images, _ = examples(self.data, range(min(8, len(self.data))), device)
        decoded = module.decode(self.latents[: len(images)].float().to(images.device))
        write_grid(torch.cat([images, decoded]), len(images), path)


@dataclass
class TextStage:
    """A pretext task for the text encoder: to predict the latent of a caption's picture.

    The best prediction is the mean of the latents of all pictures that fit.

    Stable Diffusion's text encoder came from CLIP, where it had learnt from pictures what captions
    mean. A U-Net whose text encoder has learnt nothing yet ignores it for thousands of steps; this
    costs a tenth of those. The mean over all tokens is what an untrained cross-attention reads.

    latents (N, Z, h, w), ids (N, L)   the pictures and captions, encoded
    """

    module: TextAndHead
    vae: VAE
    latents: Tensor
    ids: Tensor

    def draw(self, batch: int, generator: torch.Generator) -> Mapping[str, Tensor]:
        return {"chosen": draw(batch, len(self.latents), generator)}

    def loss(self, module: TextAndHead, drawn: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        chosen, device = drawn["chosen"], self.vae.post_quant.weight.device
        predicted = module(self.ids[chosen].to(device))
        return {"loss": F.mse_loss(predicted.float(), self.latents[chosen].to(device).float())}

    @torch.inference_mode()
    def sample(self, module: TextAndHead, path: Path) -> None:
        """Eight latents, decoded, above what is predicted from their captions."""
        device = self.vae.post_quant.weight.device
        latents, ids = (part[:8].to(device) for part in (self.latents, self.ids))
        both = torch.cat([latents.float(), module(ids).float()])
        write_grid(self.vae.decode(both), len(ids), path)


@dataclass
class DiffusionStage(Generic[D]):
    """The U-Net learns to denoise a latent given its caption, and the text encoder what to tell it.

    With a head the text encoder keeps its pretext task beside, and so what it knows: a U-Net sees
    what stands where in all but the noisiest latents, and asks so seldom for it that the text
    encoder would forget to say it.

    latents (N, Z, h, w), ids (N, L)   the pictures and captions, encoded
    cond_drop_prob                     part of the captions that are replaced by "", for
                                       classifier-free guidance (Ho & Salimans 2022, alg. 1)
    logit_normal                       draw middle training steps more often, not all alike
    gamma                              of min-SNR weights, or None; see ModelDenoiser.loss
    prompts                            what `sample` draws
    """

    module: D
    family: Family
    vae: VAE
    tokenizer: Tokenizer
    latents: Tensor
    ids: Tensor
    cond_drop_prob: float
    logit_normal: bool
    gamma: float | None
    prompts: list[str]

    def __post_init__(self) -> None:
        self.schedule = self.family.noise_schedule()
        self.module.requires_grad_(True)  # an earlier stage's average does not

    def draw(self, batch: int, generator: torch.Generator) -> Mapping[str, Tensor]:
        chosen = draw(batch, len(self.latents), generator)
        unconditional = torch.rand(batch, 1, generator=generator) < self.cond_drop_prob
        t = (draw_steps if self.logit_normal else draw)(batch, len(self.schedule), generator)
        noise = torch.randn(batch, *self.latents.shape[1:], generator=generator)
        return {"chosen": chosen, "unconditional": unconditional, "t": t, "noise": noise}

    def loss(self, module: D, drawn: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        device, chosen = self.vae.post_quant.weight.device, drawn["chosen"]
        clean = self.latents[chosen].to(device).float()
        clean = clean.contiguous(memory_format=torch.channels_last)
        ids = torch.where(drawn["unconditional"], self.tokenizer([""]), self.ids[chosen]).to(device)
        t, noise = drawn["t"].to(device), drawn["noise"].to(device)
        denoiser = self.family.denoiser(module.network(chosen), self.schedule)
        context = module.text(ids).last
        diffusion = denoiser.loss(clean, context, t, noise, self.gamma).mean()
        if module.head is None:
            return {"loss": diffusion}
        pretext = F.mse_loss(module.head(context.mean(dim=1)).float(), clean)
        return {"loss": diffusion + pretext, "diffusion": diffusion, "pretext": pretext}

    @torch.inference_mode()
    def sample(self, module: D, path: Path) -> None:
        """What the model draws for each of the prompts."""
        family, device = self.family, self.vae.post_quant.weight.device
        count = len(self.prompts)
        positive, negative = (
            module.text(self.tokenizer(texts).to(device)).last
            for texts in (self.prompts, [""] * count)
        )
        denoiser = family.denoiser(module.network(torch.arange(count)), self.schedule)
        branches = [Conditioning(negative), Conditioning(positive)]
        denoise = Guided(denoiser, branches, cfg(family.guidance_scale))
        latents = torch.empty(count, *self.latents.shape[1:], device=device)
        write_grid(self.vae.decode(sampled(denoise, family, latents)), 8, path)
