"""What this library and diffusers can both be asked for, on the same random weights."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

import ldm
from ldm.clip.model import TextEncoder
from ldm.models.families import Family
from ldm.models.lora.extracting import kohya_names
from ldm.models.weights import Checkpoint, save
from ldm.pipeline.makers import completed
from ldm.runtime.allocator import reused
from ldm.samplers import Guided, ModelDenoiser, cfg
from ldm.unet import UNet
from ldm.vae import VAE

PROMPT = "a lighthouse at dusk, oil on canvas"
SCALE, T = 7.5, 500

Runs = dict[str, tuple[Callable[[], Tensor], Callable[[], Tensor]]]


def pipeline_of(family: Family) -> str:
    """The name of diffusers' class."""
    return f"StableDiffusion{'XL' if 'sizes' in family.conditioning else ''}Pipeline"


def random_model(family: Family, dtype: torch.dtype) -> Checkpoint:
    torch.manual_seed(0)
    torch.set_default_dtype(dtype)
    text = tuple(map(TextEncoder, family.text))
    model = Checkpoint(family, text, UNet(family.unet), VAE(family.vae))
    torch.set_default_dtype(torch.float32)
    return model


def random_checkpoint(family: Family, folder: Path, dtype: torch.dtype) -> tuple[Path, Path]:
    """A single file; and a folder with the configs that diffusers wants beside it, which it would
    else download."""
    model = random_model(family, dtype)
    file, configs = folder / "random.safetensors", folder / "configs"
    save(file, model, "compvis")
    save(configs, model, "diffusers")
    for weights in configs.rglob("*.safetensors"):
        weights.unlink()
    return file, configs


def told_unet(unet: Any, x: Tensor, t: object, context: Tensor, told: Any) -> Tensor:
    """diffusers' U-Net. told: of SDXL, beside the text."""
    found: Tensor = unet(x, t, context, added_cond_kwargs=told, return_dict=False)[0]
    return found


class Peer(NamedTuple):
    """Somebody else's parts, made for the first shapes that they are called with.

    predict   (x, t, context, told) -> prediction
    decode    latents -> pictures in [-1, 1]
    picture   steps and size -> a picture, 8 bits
    """

    predict: Callable[..., Tensor] | None = None
    decode: Callable[[Tensor], Tensor] | None = None
    picture: Callable[[int, int], Tensor] | None = None

    def does(self, row: str) -> bool:
        part = {"step": self.predict, "decode": self.decode, "picture": self.picture}
        return part.get("picture" if row == "whole" else row) is not None


def computations(
    model: ldm.LatentDiffusion, pipe: Any, size: int, peer: Peer | None = None, steps: int = 50
) -> Runs:
    """What the two can be asked for, each with the same result.

    peer    what stands in the place of diffusers' parts
    steps   of the row "whole"
    """
    peer = peer or Peer()
    predict = peer.predict or partial(told_unet, pipe.unet)
    decode = peer.decode or (lambda z: pipe.vae.decode(z).sample)
    generator, device, factor = torch.Generator().manual_seed(1), model.device, model.vae.factor
    latent = torch.randn(1, 4, size // factor, size // factor, generator=generator).to(device)
    image = (2 * torch.rand(1, 3, size, size, generator=generator) - 1).to(device)
    scale, schedule = model.family.vae.scale, model.family.noise_schedule()
    sigma = schedule.sigma(T)
    both = model.conditioning(["no", PROMPT])
    rows = [both[:1], both[1:]]
    told = None
    if "sizes" in model.family.conditioning:
        sizes = torch.tensor([[size, size, 0, 0, size, size]] * 2, device=device)
        told = {"text_embeds": both.vector, "time_ids": sizes}
        job = model.resolve(ldm.Request(PROMPT, negative="no", width=size, height=size))
        part = job.passes[0]
        rows = completed(model, job, part, job.noise(part, model.dtype))(rows, [0])
    core = ModelDenoiser(model.unet, schedule, model.family.prediction)
    denoise = Guided(core, rows, cfg(SCALE))
    both = both.context

    def our_step() -> Tensor:
        with reused():  # as within a picture
            return denoise(latent, sigma)

    def their_step() -> Tensor:
        x = (latent / (1 + sigma**2) ** 0.5).to(both.dtype)
        raw = predict(torch.cat([x, x]), T, both, told)
        without, with_ = raw.chunk(2)
        return latent - sigma * (without + SCALE * (with_ - without))

    def our_picture(steps: int, size: int) -> Tensor:
        picture = model.txt2img(
            PROMPT,
            sampler="ddim",
            schedule="leading",
            steps=steps,
            guidance_scale=SCALE,
            seed=0,
            width=size,
            height=size,
        )
        return torch.tensor(np.array(picture[0]))

    def diffusers_picture(steps: int, size: int) -> Tensor:
        side = size // factor
        noise = torch.randn(1, 4, side, side, generator=torch.Generator().manual_seed(0))
        picture = pipe(
            PROMPT,
            height=size,
            width=size,
            num_inference_steps=steps,
            guidance_scale=SCALE,
            latents=noise.to(device, both.dtype),
        )
        return torch.tensor(np.array(picture.images[0]))

    precision, their_picture = pipe.vae.dtype, peer.picture or diffusers_picture
    return {
        "step": (our_step, their_step),
        "text": (
            lambda: model.conditioning([PROMPT]).context,
            lambda: pipe.encode_prompt(
                PROMPT, device=device, num_images_per_prompt=1, do_classifier_free_guidance=False
            )[0],
        ),
        "encode": (
            lambda: model.encode(image),
            lambda: pipe.vae.encode(image.to(precision)).latent_dist.mode() * scale,
        ),
        "decode": (
            lambda: model.decode(latent),
            lambda: decode(latent.to(precision) / scale).clamp(-1, 1),
        ),
        "picture": (partial(our_picture, 4, size // 2), partial(their_picture, 4, size // 2)),
        "whole": (partial(our_picture, steps, size), partial(their_picture, steps, size)),
    }


def attention_lora(model: ldm.LatentDiffusion, path: Path, rank: int = 16) -> None:
    """A random LoRA of all attention layers, in kohya's layout, float16."""
    tensors = {}
    for layer, name in kohya_names(model.family).items():
        network, _, inner = layer.partition(".")
        if "attn" in layer and network in ("unet", "text"):
            module = (model.unet if network == "unet" else model.text).get_submodule(inner)
            if isinstance(module, torch.nn.Linear):
                up, down = torch.randn(module.out_features, rank), torch.randn(rank, 1)
                tensors[f"{name}.lora_up.weight"] = 1e-3 * up.half()
                tensors[f"{name}.lora_down.weight"] = down.half().repeat(1, module.in_features)
                tensors[f"{name}.alpha"] = torch.tensor(float(rank))
    save_file(tensors, path)
