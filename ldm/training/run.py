"""From a recipe to a model file: stage after stage, each of which goes on where it was if it was killed."""

import os
from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from ..clip.tokenizer import Tokenizer
from ..weights import Checkpoint, save
from .data import Data
from .evaluation import held_out_prompts
from .initial import new_text, new_unet, new_vae, seeded
from .loop import train
from .recipes import Recipe
from .stages import (
    AutoencoderStage,
    DecoderStage,
    DiffusionStage,
    TextAndHead,
    TextAndUNet,
    TextStage,
    encode_data,
    latent_scale,
)


def run(
    recipe: Recipe,
    data: Data,
    folder: Path,
    device: torch.device | str = "cpu",
    autocast: bool = False,
    compile: bool = False,
) -> Path:
    """Trains the VAE, encodes the data with it, trains the U-Net and the text encoder, then the decoder once more.

    -> the finished model's file.

    Everything is written into `folder`: vae/, unet/ and decoder/ (see `train`), latents.safetensors (the encoded data)
    and, in the end, model.safetensors (float16, in this library's own layout). autocast, compile: see `train`.
    """
    device = torch.device(device)
    vae = new_vae(recipe.family.vae, recipe.vae.seed).to(device)
    stage = AutoencoderStage(vae, data, recipe.crop, recipe.crops, recipe.perceptual, recipe.kl)
    vae = train(stage, recipe.vae, folder / "vae", autocast)
    vae.config = replace(vae.config, scale=latent_scale(vae, data))

    tokenizer = Tokenizer.for_words((data[i][1] for i in range(len(data))), recipe.family.text.length)
    text_config = replace(recipe.family.text, vocabulary=len(tokenizer))
    family = replace(recipe.family, vae=vae.config, text=text_config)

    encoded = folder / "latents.safetensors"
    if not encoded.exists():
        latents, ids = encode_data(vae, tokenizer, data, autocast)
        save_file({"latents": latents, "ids": ids}, partial := encoded.with_suffix(".partial"))
        os.replace(partial, encoded)
    tensors = load_file(encoded)

    with seeded(recipe.text.seed):
        text = TextAndHead(new_text(family.text, recipe.text.seed), tensors["latents"].shape[1:]).to(device)
    text = train(TextStage(text, vae, tensors["latents"], tensors["ids"]), recipe.text, folder / "text", autocast)

    module = TextAndUNet(text.text.requires_grad_(True), new_unet(family.unet, recipe.unet.seed).to(device))
    prompts = [prompt for _, prompt in held_out_prompts(32)]
    module = train(
        DiffusionStage(
            module, family, vae, tokenizer, tensors["latents"], tensors["ids"], recipe.dropped, recipe.gamma, prompts
        ),
        recipe.unet,
        folder / "unet",
        autocast,
        compile,
    )
    vae = train(
        DecoderStage(vae, data, tensors["latents"], recipe.noise, recipe.perceptual), recipe.decoder, folder / "decoder"
    )
    finished = folder / "model.safetensors"
    save(finished, Checkpoint(family, module.text.half(), module.unet.half(), vae.half(), tokenizer.merges))
    return finished
