"""Small models in two implementations with the same random weights: this library's, and diffusers'
modules."""

from dataclasses import dataclass
from typing import Any

import torch
from theirs import their_text, their_unet, their_vae

from helpers import MERGES
from ldm.clip.model import TextEncoder
from ldm.clip.tokenizer import Tokenizer
from ldm.models.families import Family
from ldm.models.keymaps.rows import unet_rows, vae_rows
from ldm.pipeline.model import LatentDiffusion
from ldm.unet import UNet
from ldm.vae import VAE


@dataclass(frozen=True)
class Both:
    """ours; and the modules that diffusers' pipelines are made of."""

    ours: LatentDiffusion
    theirs: dict[str, Any]

    def pipeline(self, kind: Any, scheduler: Any, **options: Any) -> Any:
        pipe = kind(**self.theirs, scheduler=scheduler, **options)
        pipe.set_progress_bar_config(disable=True)
        return pipe


def both(family: Family, tokenizer: Any, share: Any) -> Both:
    """tokenizer: of a padding token, transformers' tokenizer; share: see `conftest`."""
    texts: list[Any] = []
    modules: dict[str, Any] = {}
    for config in family.text:
        with torch.device("meta"):
            ours = TextEncoder(config)
        theirs, names = their_text(config)  # has buffers that are not in its state
        share(ours, theirs, names, torch.float32)
        if config.final_norm:  # then theirs has no layers that are not read
            encoder = getattr(theirs, "text_model", theirs).encoder
            encoder.layers = encoder.layers[: config.layers + 1 - config.layer]
        last = "_2" if config.projection is not None else ""
        texts.append(ours)
        modules |= {
            f"text_encoder{last}": theirs.float(),
            f"tokenizer{last}": tokenizer(config.pad),
        }
    with torch.device("meta"):
        unet, vae = UNet(family.unet), VAE(family.vae)
        their = their_unet(family.unet), their_vae(family.vae)
    share(unet, their[0], unet_rows(family.unet), torch.float32)
    share(vae, their[1], vae_rows(family.vae), torch.float32)
    numbers = {"sizes": 6, "sizes_and_score": 5}
    for name in numbers.keys() & set(family.conditioning):
        width = family.unet.vector_width - family.text[-1].projection
        their[0].register_to_config(addition_time_embed_dim=width // numbers[name])
        their[0].add_time_proj.num_channels = width // numbers[name]
    own = Tokenizer(MERGES, family.text[0].length)
    model = LatentDiffusion(texts, unet, vae, own, family)
    return Both(model, {**modules, "unet": their[0], "vae": their[1]})
