"""The pictures as latents, once and for all: what the stages after the autoencoder's learn on.

N pictures, Z latent channels, h x w size of a latent.
"""

import json
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from ..files import replacing
from ..vae import VAE
from .data import Data
from .stages import examples


@torch.inference_mode()
def latent_scale(vae: VAE, data: Data, count: int = 256) -> float:
    """1 / the standard deviation of the unscaled latents: what VAEConfig.scale should be."""
    images, _ = examples(data, range(min(count, len(data))), vae.post_quant.weight.device)
    return vae.config.scale / float(vae.encode(images).std())


@torch.inference_mode()
def encode_data(vae: VAE, data: Data, autocast: bool = False, batch: int = 64) -> tuple[Tensor, list[str]]:
    """Every picture as the mean of its scaled latent, (N, Z, h, w) float16; and every caption."""
    from tqdm import tqdm

    device = vae.post_quant.weight.device
    latents: list[Tensor] = []
    captions: list[str] = []
    for start in tqdm(range(0, len(data), batch), desc="encoding", dynamic_ncols=True):
        images, texts = examples(data, range(start, min(start + batch, len(data))), device)
        with torch.autocast(device.type, torch.bfloat16, enabled=autocast):
            latents.append(vae.encode(images.contiguous(memory_format=torch.channels_last)).half().cpu())
        captions += texts
    return torch.cat(latents).contiguous(), captions


def encoded(vae: VAE, data: Data, folder: Path, autocast: bool) -> tuple[Tensor, list[str]]:
    """See encode_data; kept in latents.safetensors."""
    path = folder / "latents.safetensors"
    if not path.exists():
        latents, captions = encode_data(vae, data, autocast)
        with replacing(path) as temporary:
            save_file({"latents": latents}, temporary, {"captions": json.dumps(captions)})
    with safe_open(path, "pt") as file:
        return file.get_tensor("latents"), json.loads(file.metadata()["captions"])
