"""What each parameter is called, here and elsewhere: exact tables, total and one-to-one, that serve
for loading and for saving.

Names of our own:        unet.…   vae.…   text.…   text2.…
of CompVis:              model.diffusion_model.…   first_stage_model.…
                         cond_stage_model.transformer.… (for OpenCLIP .model.…)
                         conditioner.embedders.0.… 1.… where there are two text encoders
of diffusers' folders:   unet.…   vae.…   text_encoder.…   text_encoder_2.…
                         <folder>.<name in that folder's file>
"""

import re
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import NamedTuple

from ..family import Family
from .rows import KeyFormat, Operation, Row, unet_rows, vae_rows, with_prefix
from .text import TEXT_MODEL, openclip, openclip_rows, text_rows
from .vision import AUGMENTOR, vision_rows

__all__ = ["Component", "Ignored", "KeyFormat", "Operation", "Row", "Source"]
__all__ += ["components", "ema_name", "ignored", "left_over", "prefixes", "rows", "sources"]
__all__ += ["table"]


class Component(NamedTuple):
    """One network of a family.

    name               its names begin with it and a dot, in our own files
    compvis, diffusers   what its names begin with there
    rows               its layers, without these beginnings
    """

    name: str
    compvis: str
    diffusers: str
    rows: Iterator[Row]


def components(family: Family) -> Iterator[Component]:
    """The U-Net, the VAE, the text encoders: text, text2, …; and what sees a picture: vision."""
    vector = "add_embedding" if family.vision is None else "class_embedding"  # in diffusers
    yield Component("unet", "model.diffusion_model.", "unet.", unet_rows(family.unet, vector))
    yield Component("vae", "first_stage_model.", "vae.", vae_rows(family.vae))
    for i, config in enumerate(family.text):
        root = f"conditioner.embedders.{i}" if of_sdxl(family) else "cond_stage_model"
        compvis = f"{root}.model." if openclip(config) else f"{root}.transformer."
        inside = openclip_rows(config) if openclip(config) else text_rows(config)
        # SDXL's refiner has only the second one of SDXL, which alone is projected.
        second = i > 0 or (of_sdxl(family) and config.projection is not None)
        diffusers = f"text_encoder_{max(i, 1) + 1}." if second else "text_encoder."
        yield Component(f"text{i + 1 if i else ''}", compvis, diffusers, inside)
    if family.vision is not None:
        yield Component("vision", "embedder.model.", "image_encoder.", vision_rows(family.vision))
        stats = iter(AUGMENTOR)
        yield Component("augmentor", "noise_augmentor.data_", "image_normalizer.", stats)


def of_sdxl(family: Family) -> bool:
    """Whether its single files are those of Stability's generative-models, not of CompVis."""
    return len(family.text) > 1 or "sizes_and_score" in family.conditioning


def rows(family: Family) -> Iterator[Row]:
    """Every layer of all networks."""
    for part in components(family):
        yield from with_prefix(f"{part.name}.", part.compvis, part.diffusers, part.rows)


class Source(NamedTuple):
    """Where a parameter of ours is found in a file: the first name is written, any is read.

    component   the network that it belongs to: unet, vae, text, text2
    operation   makes the part ours, and ours the part; None: it is ours as it is
    part        (i, n): it is the i-th of n equal parts of the tensor, along the first axis; the
                others are parameters of ours, too
    """

    component: str
    names: tuple[str, ...] = ()
    operation: Operation | None = None
    part: tuple[int, int] = (0, 1)


@lru_cache(maxsize=16)
def table(family: Family, key_format: KeyFormat, bare: bool = False) -> dict[str, Source]:
    """Each parameter of ours -> its source.

    bare   without the beginning that tells the network, as in a file of one network alone
    """
    begins = prefixes(family, key_format)
    found: dict[str, Source] = {}
    for component in components(family):
        begin = "" if bare else begins[component.name]
        found |= sources(component.name, component.rows, key_format, begin)
    return found


def sources(
    component: str, layers: Iterable[Row], key_format: KeyFormat, begin: str = ""
) -> dict[str, Source]:
    """Each parameter of one network -> its source. begin: of all names in the file."""
    found = {}
    for layer in layers:
        form = layer.form_in(key_format)
        for parameter in ("weight", "bias") if layer.bias else ("weight",):
            end = form.suffix.format(parameter)
            found[f"{component}.{layer.ours}.{parameter}"] = Source(
                component,
                tuple(f"{begin}{name}{end}" for name in layer.names(key_format)),
                form.operation if parameter == "weight" else None,
                form.part,
            )
    return found


def prefixes(family: Family, key_format: KeyFormat) -> dict[str, str]:
    """What all names of each network begin with."""
    return {
        part.name: {"ldm": f"{part.name}.", "compvis": part.compvis, "diffusers": part.diffusers}[
            key_format
        ]
        for part in components(family)
    }


def ema_name(compvis: str) -> str:
    """CompVis's name of the moving average of a parameter inside "model.": that name without its
    dots."""
    return "model_ema." + compvis.removeprefix("model.").replace(".", "")


class Ignored(NamedTuple):
    """Something in official files that is not needed.

    exact   where it has another shape, the family must be another
    """

    names: tuple[str, ...]
    shape: tuple[int, ...]
    reason: str
    exact: bool = False


SCHEDULE_BUFFERS = (
    *("betas", "alphas_cumprod", "alphas_cumprod_prev", "sqrt_recipm1_alphas_cumprod"),
    *("sqrt_alphas_cumprod", "sqrt_one_minus_alphas_cumprod", "sqrt_recip_alphas_cumprod"),
    *("log_one_minus_alphas_cumprod", "posterior_variance", "posterior_log_variance_clipped"),
    *("posterior_mean_coef1", "posterior_mean_coef2"),
)


def ignored(family: Family, key_format: KeyFormat) -> list[Ignored]:
    """What official files hold besides parameters, each with the reason why it is not needed."""
    found = []
    if key_format == "compvis" and not of_sdxl(family):
        schedule = "noise schedule: computed anew, in float64, from the betas of the family"
        counter = "counters of the moving average: of use only to its training"
        found += [
            Ignored((name,), (family.train_steps,), schedule, True) for name in SCHEDULE_BUFFERS
        ]
        found += [Ignored((f"model_ema.{name}",), (), counter) for name in ("decay", "num_updates")]
    towers = {} if key_format == "ldm" else prefixes(family, key_format)
    for config, tower in zip(family.text, [towers[name] for name in towers if name[:4] == "text"]):
        if key_format == "compvis" and openclip(config):
            reason = "of use only where texts are compared with pictures"
            found.append(Ignored((f"{tower}logit_scale",), (), reason))
            if config.projection is None:
                size = (config.width, config.width)
                found.append(Ignored((f"{tower}text_projection",), size, reason))
        else:
            names = tuple(f"{tower}{name}embeddings.position_ids" for name in TEXT_MODEL)
            reason = "positions of the tokens: the numbers 0, 1, 2, …"
            found.append(Ignored(names, (1, config.length), reason))
    return found


# What programs leave in their files besides, and why it is not needed.
LEFT_OVERS = (
    ("|".join(SCHEDULE_BUFFERS), "noise schedule: computed anew from the betas of the family"),
    (r"model_ema\.(decay|num_updates)", "counters of the moving average: for training alone"),
    (r".*embedding_manager\..*", "embeddings in training: no part of the model"),
    (r".*(logit_scale|text_projection(\.weight)?)", "for comparing texts with pictures"),
    (r".*\.position_ids", "positions of the tokens: the numbers 0, 1, 2, …"),
    (r"embedder\.model\.(?!visual\.).*", "the text tower beside a vision tower: of no use here"),
    (r"noise_augmentor\.(?!data_).*", "noise of a picture's embedding: computed anew"),
    (r"(denoiser|model\.denoiser)\..*", "levels of noise: those of the family are taken"),
    (r"low_scale_model\..*", "noise of the small picture: computed anew from the family's betas"),
    (r"depth(_model)?\..*", "a network that estimates depth: read where no depth is given"),
    (
        r"v_pred|ztsnr|edm_(mean|std)|edm_vpred\.sigma_(max|min)",
        "says what the U-Net predicts, and with which noise",
    ),
    (r"scale_factor|logvar", "of the training: the family says the scale of its VAE"),
    (r"(first_stage_model\.|vae\.)?loss\..*", "the loss of the VAE's training"),
)


def left_over(name: str) -> str | None:
    """Why a tensor of this name, which is no parameter, is not needed; None: it is not known."""
    return next((reason for pattern, reason in LEFT_OVERS if re.fullmatch(pattern, name)), None)
