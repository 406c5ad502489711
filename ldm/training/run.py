"""From a recipe to a model file: stage after stage, each of which goes on where it was if it was killed."""

from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import torch

from ..clip.tokenizer import Tokenizer
from ..weights import Checkpoint, save
from .data import Data
from .encoding import encoded, latent_scale
from .evaluation import held_out_prompts
from .initial import new_text, new_unet, new_vae, seeded
from .loop import train
from .recipes import Recipe
from .stages import AutoencoderStage, DecoderStage, DiffusionStage, TextAndHead, TextAndUNet, TextStage


def run(
    recipe: Recipe,
    data: Data,
    folder: Path,
    device: torch.device | str = "cpu",
    autocast: bool = False,
    compile: bool = False,
) -> Path:
    """Trains the VAE, encodes the data with it, trains the text encoder, the U-Net, both, then the decoder once more.

    -> the finished model's file.

    Everything is written into `folder`: one folder for each stage (see `train`), latents.safetensors (the encoded data)
    and, in the end, model.safetensors (float16, in this library's own layout). autocast, compile: see `train`.
    """
    device = torch.device(device)
    vae = new_vae(recipe.family.vae, recipe.vae.seed).to(device)
    stage = AutoencoderStage(vae, data, recipe.crop, recipe.crops, recipe.perceptual, recipe.kl)
    vae = train(stage, recipe.vae, folder / "vae", autocast)
    vae.config = replace(vae.config, scale=latent_scale(vae, data))

    latents, captions = encoded(vae, data, folder, autocast)
    tokenizer = Tokenizer.for_words(captions, recipe.family.text.length)
    ids = tokenizer(captions)
    text_config = replace(recipe.family.text, vocabulary=len(tokenizer))
    family = replace(recipe.family, vae=vae.config, text=text_config)

    with seeded(recipe.text.seed):
        text = TextAndHead(new_text(family.text, recipe.text.seed), latents.shape[1:]).to(device)
    text = train(TextStage(text, vae, latents, ids), recipe.text, folder / "text", autocast)

    prompts = [prompt for _, prompt in held_out_prompts(32)]

    def diffusion(module: TextAndUNet, logit_normal: bool) -> DiffusionStage:
        module.requires_grad_(True)
        dropped, gamma = recipe.dropped, recipe.gamma
        return DiffusionStage(module, family, vae, tokenizer, latents, ids, dropped, logit_normal, gamma, prompts)

    module = TextAndUNet(deepcopy(text.text), new_unet(family.unet, recipe.unet.seed).to(device))
    module = train(diffusion(module, recipe.logit_normal), recipe.unet, folder / "unet", autocast, compile)
    module = TextAndUNet(text.text, module.unet, text.head)
    module = train(diffusion(module, False), recipe.reading, folder / "reading", autocast, compile)
    finishing = DecoderStage(vae, data, latents, recipe.noise, recipe.perceptual)
    vae = train(finishing, recipe.decoder, folder / "decoder")
    finished = folder / "model.safetensors"
    save(finished, Checkpoint(family, module.text.half(), module.unet.half(), vae.half(), tokenizer.merges))
    return finished
