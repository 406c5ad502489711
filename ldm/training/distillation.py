"""Fewer steps: a student learns to say at once where its teacher ends up after many.

Latent consistency distillation (Luo et al. 2023, "Latent Consistency Models", algorithm 1), for one
guidance scale, which the student takes in: it draws with a single branch.

B batch, N pictures, Z latent channels, h x w size of a latent, L tokens of a caption.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Generic, TypeVar

import torch
from torch import Tensor

from ..clip.tokenizer import Tokenizer
from ..conditioning import Conditioning
from ..models.families import Family
from ..samplers import SCHEDULES, Guided, Network
from ..samplers.denoiser import Prediction
from ..samplers.guidance import unguided
from ..vae import VAE
from .modules import Base, Denoising
from .stages import draw, sampled, write_grid

D = TypeVar("D", bound=Denoising)


def boundary(t: Tensor) -> tuple[Tensor, Tensor]:
    """c_skip and c_out of the consistency function, Luo et al. 2023, eq. 9, with the numbers of
    their code. t: training steps of any shape; at 0 they are 1 and 0."""
    scaled, data = 10.0 * t, 0.5
    total = scaled.square() + data**2
    return data**2 / total, scaled / total.sqrt()


def clean_latent(prediction: Prediction, raw: Tensor, x_t: Tensor, a: Tensor) -> Tensor:
    """What a network's prediction for x_t = sqrt(a) clean + sqrt(1 - a) noise says of the clean
    latent, as in `ModelDenoiser`, but for rows of different noise: a (B, 1, 1, 1)."""
    if prediction == "eps":
        return (x_t - (1 - a).sqrt() * raw) / a.sqrt()
    return raw if prediction == "x0" else a.sqrt() * x_t - (1 - a).sqrt() * raw


def pseudo_huber(x: Tensor, y: Tensor) -> Tensor:
    """sqrt(|x - y|^2 + c^2) - c of each row, c = 0.00054 sqrt(its length). -> (B,)

    Song & Dhariwal 2023, "Improved techniques for training consistency models", eq. 8.
    """
    c: float = 0.00054 * x[0].numel() ** 0.5
    return ((x - y).flatten(1).square().sum(1) + c**2).sqrt() - c


@dataclass
class DistillationStage(Generic[D]):
    """The student f(x_t, t, c) learns that all points of a path of the teacher's have one end.

    Of two neighbouring levels n and n + 1 of noise,

        z, c      drawn from the data, n from 0..levels - 1
        x_n+1   = sqrt(a) z + sqrt(1 - a) noise
        x_n     = one step of DDIM with the teacher, guided by `guidance_scale`, from x_n+1
        loss    = d(f(x_n+1), f-(x_n)),   d the pseudo-Huber distance

    and f- is the student itself, without a gradient (Song & Dhariwal 2023, sec. 3.2; Luo et al.
    have an average of its weights there). Level 0 is the clean latent, where f(x, 0) = x: what is
    right there spreads upwards. It wants a low learning rate: the student is its own target.

    module                             the student: its text encoder stays the teacher's
    teacher                            as it was, and stays
    latents (N, Z, h, w), ids (N, L)   the pictures and captions, encoded
    guidance_scale                     of the teacher
    family                             the student's; `sample` draws with its steps and sampler
    prompts                            what `sample` draws
    levels                             20 are k = 50 training steps apart, of 1,000
    """

    module: D
    teacher: Base
    family: Family
    vae: VAE
    tokenizer: Tokenizer
    latents: Tensor
    ids: Tensor
    guidance_scale: float
    prompts: list[str]
    levels: int = 20

    def __post_init__(self) -> None:
        self.schedule = self.family.noise_schedule()
        self.module.requires_grad_(True)
        sigmas = SCHEDULES["trailing"](self.schedule, self.levels)[::-1]  # 0.0 is the first
        self.t = torch.tensor([0.0, *self.schedule.timesteps(sigmas[1:])])
        self.a = 1 / (1 + torch.tensor(sigmas).square())

    def draw(self, batch: int, generator: torch.Generator) -> Mapping[str, Tensor]:
        chosen = draw(batch, len(self.latents), generator)
        n = draw(batch, self.levels, generator)
        noise = torch.randn(batch, *self.latents.shape[1:], generator=generator)
        return {"chosen": chosen, "n": n, "noise": noise}

    def loss(self, module: D, drawn: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        device, chosen, n = self.vae.post_quant.weight.device, drawn["chosen"], drawn["n"]
        clean, noise = self.latents[chosen].to(device).float(), drawn["noise"].to(device)
        a = self.a.to(device)[n + 1, None, None, None]
        x = (a.sqrt() * clean + (1 - a).sqrt() * noise).contiguous(
            memory_format=torch.channels_last
        )
        student = module.network(chosen)
        with torch.no_grad():
            context = self.teacher.text(self.ids[chosen].to(device)).last
            before = self.solver_step(x, n, context)
            target = self.consistency(student, before, n, context)
        end = self.consistency(student, x, n + 1, context)
        return {"loss": pseudo_huber(end, target).mean()}

    def consistency(self, network: Network, x: Tensor, n: Tensor, context: Tensor) -> Tensor:
        """f(x_t, t, c) = c_skip x_t + c_out clean(x_t, t, c), of rows at levels n (B,)."""
        t, a = (values.to(x.device)[n, None, None, None] for values in (self.t, self.a))
        c_skip, c_out = boundary(t)
        raw = network(x, t.flatten(), Conditioning(context)).float()
        return c_skip * x + c_out * clean_latent(self.family.prediction, raw, x, a)

    def solver_step(self, x: Tensor, n: Tensor, context: Tensor) -> Tensor:
        """From level n + 1 to n with the teacher, by DDIM (Song et al. 2021, eq. 12)."""
        t, a = (values.to(x.device)[n + 1, None, None, None] for values in (self.t, self.a))
        nothing = self.teacher.text(self.tokenizer([""]).to(x.device)).last.expand_as(context)
        both = Conditioning(torch.cat([nothing, context]))
        raw = self.teacher.unet(torch.cat([x, x]), t.flatten().repeat(2), both).float()
        without, with_caption = raw.chunk(2)
        # predictions of each kind are linear in the clean latent, so that guidance is the same
        raw = without + self.guidance_scale * (with_caption - without)
        end = clean_latent(self.family.prediction, raw, x, a)
        noise = (x - a.sqrt() * end) / (1 - a).sqrt()
        a = self.a.to(x.device)[n, None, None, None]
        return (a.sqrt() * end + (1 - a).sqrt() * noise).to(x)

    @torch.inference_mode()
    def sample(self, module: D, path: Path) -> None:
        """What the student draws for each of the prompts, in the family's few steps."""
        family, device = self.family, self.vae.post_quant.weight.device
        count = len(self.prompts)
        context = self.teacher.text(self.tokenizer(self.prompts).to(device)).last
        model = family.denoiser(module.network(torch.arange(count)), self.schedule)
        denoise = Guided(model, [Conditioning(context)], unguided)
        latents = torch.empty(count, *self.latents.shape[1:], device=device)
        write_grid(self.vae.decode(sampled(denoise, family, latents)), 8, path)


def of_few_steps(family: Family, steps: int = 4) -> Family:
    """A family's student: drawn without guidance."""
    return replace(family, steps=steps, guidance_scale=1.0, sampler="lcm", schedule="lcm")
