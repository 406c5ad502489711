"""The pictures as latents, encoded once: what the stages after the autoencoder's learn on.

N pictures, Z latent channels, h x w size of a latent.
"""

import json
from dataclasses import replace
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from ..runtime.files import replacing
from ..vae import VAE
from .data import Data, examples
from .parallel import first_alone


@torch.inference_mode()
def latent_scale(vae: VAE, data: Data, count: int = 256) -> float:
    """1 / the standard deviation of the unscaled latents: what VAEConfig.scale should be."""
    images, _ = examples(data, range(min(count, len(data))), vae.post_quant.weight.device)
    return vae.config.scale / float(vae.encode(images).std())


@torch.inference_mode()
def encode_data(
    vae: VAE, data: Data, autocast: bool = False, batch: int = 64
) -> tuple[Tensor, list[str]]:
    """Every picture as the mean of its scaled latent, (N, Z, h, w) float16; and every caption."""
    from tqdm import tqdm

    device = vae.post_quant.weight.device
    latents: list[Tensor] = []
    captions: list[str] = []
    for start in tqdm(range(0, len(data), batch), desc="encoding", dynamic_ncols=True):
        images, texts = examples(data, range(start, min(start + batch, len(data))), device)
        with torch.autocast(device.type, torch.bfloat16, enabled=autocast):
            encoded = vae.encode(images.contiguous(memory_format=torch.channels_last))
        latents.append(encoded.half().cpu())
        captions += texts
    return torch.cat(latents).contiguous(), captions


def save_latents(path: Path, latents: Tensor, captions: list[str], scale: float) -> None:
    """What `encode_data` made, and the VAE's scale it was made with, which must stay the same."""
    with replacing(path) as temporary:
        metadata = {"captions": json.dumps(captions), "scale": repr(scale)}
        save_file({"latents": latents}, temporary, metadata)


def load_latents(path: Path) -> tuple[Tensor, list[str], float]:
    """The inverse of `save_latents`. ValueError for a file that is none of its own."""
    try:
        with safe_open(path, "pt") as file:
            kept = file.metadata()
            latents = file.get_tensor("latents")
            return latents, json.loads(kept["captions"]), float(kept["scale"])
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is damaged, remove it and train on: {error}") from None


def scaled_latents(
    vae: VAE, data: Data, path: Path, autocast: bool, scale: float | None = None
) -> tuple[Tensor, list[str]]:
    """See `encode_data`; both, and the scale of the VAE, are kept in the file. scale: None for the
    one that gives the latents a deviation of 1."""
    with first_alone():
        if not path.exists():
            vae.config = replace(vae.config, scale=scale or latent_scale(vae, data))
            save_latents(path, *encode_data(vae, data, autocast), vae.config.scale)
    latents, captions, scale = load_latents(path)
    vae.config = replace(vae.config, scale=scale)
    return latents, captions
