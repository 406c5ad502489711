"""Small families that are told more than TINY of `helpers` is, and models of them."""

from dataclasses import replace

import torch

from helpers import MERGES, TINY
from ldm.clip.model import TextEncoder
from ldm.clip.tokenizer import Tokenizer
from ldm.models.families import Family
from ldm.pipeline.model import LatentDiffusion
from ldm.unet import UNet
from ldm.vae import VAE

BARE = replace(TINY.text[0], layers=4, layer=2, final_norm=False)
PROJECTED = replace(BARE, width=24, heads=3, activation="gelu", pad=0, projection=10, mlp_width=72)
SDXL = replace(
    TINY, name="tiny-sdxl", text=(BARE, PROJECTED),
    unet=replace(
        TINY.unet, channels=(32, 64, 64), depth=(0, 1, 2), mid_depth=2, context_width=40,
        vector_width=10 + 6 * 8, heads=None, head_width=16, linear_projection=True,
    ),
    vae=replace(TINY.vae, scale=0.13025), conditioning=("sizes",), schedule="leading",
)  # fmt: skip
REFINER = replace(
    SDXL, name="tiny-refiner", text=(PROJECTED,),
    unet=replace(SDXL.unet, depth=(1, 1, 0), context_width=24, vector_width=10 + 5 * 8),
    conditioning=("sizes_and_score",),
)  # fmt: skip
SD2 = replace(
    TINY, name="tiny-sd2", text=(replace(BARE, pad=0, activation="gelu", final_norm=True),),
    unet=replace(TINY.unet, heads=None, head_width=16, linear_projection=True), prediction="v",
)  # fmt: skip


def build(family: Family, seed: int = 0) -> LatentDiffusion:
    """A model of random weights, but always the same."""
    with torch.random.fork_rng(), torch.device("cpu"):
        torch.manual_seed(seed)
        texts = [TextEncoder(config).eval() for config in family.text]
        networks = UNet(family.unet).eval(), VAE(family.vae).eval()
    tokenizer = Tokenizer(MERGES, family.text[0].length)
    return LatentDiffusion(texts, *networks, tokenizer, family)
