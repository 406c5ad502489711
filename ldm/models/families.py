"""The model families that are known. A new one is one more entry of FAMILIES."""

import json
import os
from pathlib import Path
from typing import Any

from ..clip.model import TextConfig
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

FAMILIES = {family.name: family for family in (SD1,)}


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
