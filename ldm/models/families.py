"""The model families that are known. A new one is one more entry of FAMILIES."""

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..clip.config import TextConfig
from ..clip.vision import VisionConfig
from ..runtime.text import one_line
from ..unet import UNetConfig
from ..vae import VAEConfig
from .family import Family

__all__ = ["FAMILIES", "SD1", "Family", "as_family", "family_named"]

# Stable Diffusion 1.1 to 1.5: CompVis/stable-diffusion, configs/stable-diffusion/v1-inference.yaml,
# scripts/txt2img.py.
SD1 = Family(
    name="sd1",
    text=(
        TextConfig(
            vocabulary=49408, length=77, width=768, layers=12, heads=12, mlp_width=3072,
            activation="quick_gelu", layer=1, final_norm=True, pad=None, projection=None,
        ),
    ),
    unet=UNetConfig(
        in_channels=4, out_channels=4, concat_channels=0, channels=(320, 640, 1280, 1280),
        res_blocks=2, groups=32, depth=(1, 1, 1, 0), mid_depth=1, context_width=768,
        vector_width=None, heads=8, head_width=None, linear_projection=False,
    ),
    vae=VAEConfig(
        image_channels=3, latent_channels=4, channels=(128, 256, 512, 512), res_blocks=2,
        groups=32, scale=0.18215,
    ),
    beta_start=0.00085, beta_end=0.0120, train_steps=1000, prediction="eps",
    size=512, steps=50, guidance_scale=7.5, sampler="ddim", schedule="leading",
)  # fmt: skip

SD1_INPAINTING = replace(  # runwayml/stable-diffusion, v1-inpainting-inference.yaml
    SD1, name="sd1-inpainting", unet=replace(SD1.unet, concat_channels=5),
    conditioning=("inpainting",),
)  # fmt: skip
INSTRUCT = replace(  # timothybrooks/instruct-pix2pix, configs/generate.yaml, edit_cli.py
    SD1, name="instruct-pix2pix", unet=replace(SD1.unet, concat_channels=4),
    conditioning=("instruction",), steps=100, sampler="euler_ancestral", schedule="uniform",
    strength=1.0, img2img_scale=7.5,
)  # fmt: skip

# Stable Diffusion 2.0 and 2.1: Stability-AI/stablediffusion, configs/stable-diffusion/
# v2-inference.yaml, v2-inference-v.yaml, and so on; scripts/txt2img.py, scripts/img2img.py.
SD2 = replace(
    SD1, name="sd2",
    text=(
        TextConfig(
            vocabulary=49408, length=77, width=1024, layers=24, heads=16, mlp_width=4096,
            activation="gelu", layer=2, final_norm=True, pad=0, projection=None,
        ),
    ),
    unet=replace(SD1.unet, context_width=1024, heads=None, head_width=64, linear_projection=True),
    guidance_scale=9.0, strength=0.8, img2img_scale=9.0,
)  # fmt: skip
SD2_V = replace(SD2, name="sd2-v", prediction="v", size=768)
SD2_INPAINTING = replace(
    SD2, name="sd2-inpainting", unet=replace(SD2.unet, concat_channels=5),
    conditioning=("inpainting",),
)  # fmt: skip
SD2_DEPTH = replace(  # scripts/gradio/depth2img.py
    SD2, name="sd2-depth", unet=replace(SD2.unet, concat_channels=1), conditioning=("depth",),
    strength=0.9,
)  # fmt: skip
UPSCALER = replace(  # x4-upscaling.yaml, scripts/gradio/superresolution.py
    SD2, name="x4-upscaler",
    unet=UNetConfig(
        in_channels=4, out_channels=4, concat_channels=3, channels=(256, 512, 512, 1024),
        res_blocks=2, groups=32, depth=(0, 1, 1, 1), mid_depth=1, context_width=1024,
        vector_width=1, heads=8, head_width=None, linear_projection=True,
        classes=1000, only_cross_attention=(0, 1, 2),
    ),
    vae=replace(SD1.vae, channels=(128, 256, 512), scale=0.08333),
    beta_start=0.0001, beta_end=0.02, prediction="v", conditioning=("low_resolution",),
    steps=75, guidance_scale=10.0,
)  # fmt: skip
# Variations of pictures: v2-1-stable-unclip-h-inference.yaml and -l-, scripts/streamlit/
# stableunclip.py. The towers: ViT-H-14 of OpenCLIP, ViT-L/14 of OpenAI.
UNCLIP_H = replace(
    SD2_V, name="sd2-unclip-h", unet=replace(SD2.unet, vector_width=2048),
    vision=VisionConfig(
        size=224, patch=14, width=1280, layers=32, heads=16, mlp_width=5120, activation="gelu",
        projection=1024,
    ),
    conditioning=("image_embedding",), steps=20, guidance_scale=10.0, strength=1.0,
    img2img_scale=10.0,
)  # fmt: skip
UNCLIP_L = replace(
    UNCLIP_H, name="sd2-unclip-l", unet=replace(SD2.unet, vector_width=1536),
    vision=VisionConfig(
        size=224, patch=14, width=1024, layers=24, heads=16, mlp_width=4096,
        activation="quick_gelu", projection=768,
    ),
)  # fmt: skip

# Distilled from SD 1 by leaving out blocks: nota-ai/bk-sdm-base, -small, -tiny, and segmind's
# small-sd and tiny-sd. Kim et al. 2023, "BK-SDM: a lightweight, fast, and cheap version of stable
# diffusion".
BK_BASE = replace(SD1, name="bk-sdm-base", unet=replace(SD1.unet, res_blocks=1))
BK_SMALL = replace(BK_BASE, name="bk-sdm-small", unet=replace(BK_BASE.unet, mid_depth=None))
BK_TINY = replace(
    BK_SMALL, name="bk-sdm-tiny",
    unet=replace(BK_SMALL.unet, channels=(320, 640, 1280), depth=(1, 1, 1)),
)  # fmt: skip
LCM = replace(  # SimianLuo/LCM_Dreamshaper_v7: Luo et al. 2023, "Latent consistency models"
    SD1, name="lcm", unet=replace(SD1.unet, guidance_width=256),
    size=768, steps=4, guidance_scale=8.5, sampler="lcm", schedule="lcm",
)  # fmt: skip

# SDXL 1.0: Stability-AI/generative-models, configs/inference/sd_xl_base.yaml, sd_xl_refiner.yaml.
OPENAI_L = replace(SD1.text[0], layer=2, final_norm=False)
OPENCLIP_G = TextConfig(
    vocabulary=49408, length=77, width=1280, layers=32, heads=20, mlp_width=5120,
    activation="gelu", layer=2, final_norm=False, pad=0, projection=1280,
)  # fmt: skip
SDXL = replace(
    SD1, name="sdxl", text=(OPENAI_L, OPENCLIP_G),
    unet=UNetConfig(
        in_channels=4, out_channels=4, concat_channels=0, channels=(320, 640, 1280), res_blocks=2,
        groups=32, depth=(0, 2, 10), mid_depth=10, context_width=2048, vector_width=2816,
        heads=None, head_width=64, linear_projection=True,
    ),
    vae=replace(SD1.vae, scale=0.13025), conditioning=("sizes",),
    size=1024, guidance_scale=5.0, sampler="euler", schedule="leading",
)  # fmt: skip
SDXL_V = replace(SDXL, name="sdxl-v", prediction="v", zero_snr=True)  # NoobAI-XL V-Pred
SDXL_REFINER = replace(
    SDXL, name="sdxl-refiner", text=(OPENCLIP_G,),
    unet=replace(
        SDXL.unet, channels=(384, 768, 1536, 1536), depth=(0, 4, 4, 0), mid_depth=4,
        context_width=1280, vector_width=2560,
    ),
    conditioning=("sizes_and_score",),
)  # fmt: skip
SDXL_INPAINTING = replace(  # diffusers/stable-diffusion-xl-1.0-inpainting-0.1
    SDXL, name="sdxl-inpainting", unet=replace(SDXL.unet, concat_channels=5),
    conditioning=("sizes", "inpainting"),
)  # fmt: skip
LCM_SDXL = replace(  # latent-consistency/lcm-sdxl
    LCM, name="lcm-sdxl", text=SDXL.text, unet=replace(SDXL.unet, guidance_width=256),
    vae=SDXL.vae, conditioning=SDXL.conditioning, size=SDXL.size,
)  # fmt: skip
# Li et al. 2024, "Playground v2.5: three insights towards enhancing aesthetic quality in
# text-to-image generation": playgroundai/playground-v2.5-1024px-aesthetic.
PLAYGROUND = replace(
    SDXL, name="playground-2.5",
    vae=replace(
        SDXL.vae, scale=0.5, mean=(-1.6574, 1.886, -1.383, 2.5155),
        std=(8.4927, 5.9022, 6.5498, 5.2299),
    ),
    edm=(0.002, 80.0, 0.5),
    guidance_scale=3.0, sampler="dpmpp_2m", schedule="karras",
)  # fmt: skip
COSXL = replace(  # stabilityai/cosxl
    SDXL, name="cosxl", prediction="v", edm=(0.002, 120.0, 1.0), schedule="karras",
)  # fmt: skip
# Which edit a picture by an instruction: diffusers/sdxl-instructpix2pix-768; stabilityai/cosxl,
# cosxl_edit.safetensors.
INSTRUCT_SDXL, COSXL_EDIT = (
    replace(
        base, name=name, unet=replace(base.unet, concat_channels=4),
        conditioning=("sizes", "instruction"), strength=1.0, img2img_scale=scale,
    )
    for base, name, scale in (
        (replace(SDXL, size=768), "sdxl-instruct-pix2pix", 3.0), (COSXL, "cosxl-edit", 7.0),
    )
)  # fmt: skip
# Distilled from SDXL by leaving out blocks: segmind/SSD-1B and segmind/Segmind-Vega, Gupta et al.
# 2024, "Progressive knowledge distillation of Stable Diffusion XL using layer level loss".
SSD_1B = replace(
    SDXL, name="ssd-1b",
    unet=replace(
        SDXL.unet, depth=(0, 2, 4), mid_depth=0, up_depth=((0, 0, 0), (2, 1, 1), (4, 4, 10)),
    ),
)  # fmt: skip
VEGA = replace(SDXL, name="segmind-vega", unet=replace(SDXL.unet, depth=(0, 1, 2), mid_depth=0))
# Lee et al. 2024, "KOALA: empirical lessons toward memory-efficient and fast diffusion models".
KOALA_1B = replace(
    SDXL, name="koala-1b", unet=replace(SDXL.unet, res_blocks=1, depth=(0, 2, 6), mid_depth=6)
)
KOALA_700M = replace(
    SDXL, name="koala-700m",
    unet=replace(SDXL.unet, res_blocks=1, depth=(0, 2, 5), mid_depth=None),
)  # fmt: skip

FAMILIES = {
    family.name: family
    for family in (
        *(SD1, SD1_INPAINTING, INSTRUCT, LCM, BK_BASE, BK_SMALL, BK_TINY),
        *(SD2, SD2_V, SD2_INPAINTING, SD2_DEPTH, UPSCALER, UNCLIP_H, UNCLIP_L),
        *(SDXL, SDXL_V, SDXL_REFINER, SDXL_INPAINTING, LCM_SDXL, SSD_1B, VEGA),
        *(KOALA_1B, KOALA_700M, PLAYGROUND, COSXL, INSTRUCT_SDXL, COSXL_EDIT),
    )
}


def family_named(name: str | Path) -> Family:
    """One of FAMILIES by its name, or what a JSON file of `Family.to_dict` describes.

    ValueError: it is neither.
    """
    if str(name) in FAMILIES:
        return FAMILIES[str(name)]
    path = Path(os.path.expanduser(name))
    try:
        return Family.from_dict(json.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        known = ", ".join(FAMILIES)
        reason = f"{name} is no family ({known}) and no JSON file that can be read"
        raise ValueError(one_line(reason)) from error
    except (ValueError, RecursionError) as error:
        raise ValueError(one_line(f"{name} does not describe a family: {error}")) from error


def as_family(family: Any) -> Family:
    """A family, or `family_named`."""
    if isinstance(family, Family):
        return family
    if isinstance(family, str | Path):
        return family_named(family)
    kind = type(family).__name__
    raise ValueError(f"family must be a Family, a name or a JSON file of one, not a {kind}")
