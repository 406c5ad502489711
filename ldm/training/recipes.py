"""Recipes: everything that decides how a model is trained, as data. A new recipe is one entry of RECIPES."""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from typing import Any

from ..clip.model import TextConfig
from ..families import Family
from ..unet import UNetConfig
from ..vae import VAEConfig
from .loop import Plan


@dataclass(frozen=True)
class Recipe:
    """family                what is trained; its VAE's scale and its vocabulary are found on the way
    scenes                how many procedural scenes to train on, where no folder of pictures is given
    crop, crops           see AutoencoderStage, as perceptual and kl
    noise                 see DecoderStage
    vae, text, unet, reading, decoder   the plans of the stages
    dropped, logit_normal, gamma   see DiffusionStage
    """

    family: Family
    scenes: int
    crop: int
    crops: int
    perceptual: float
    kl: float
    noise: float
    vae: Plan
    text: Plan
    unet: Plan
    reading: Plan
    decoder: Plan
    dropped: float
    logit_normal: bool
    gamma: float | None


SHAPES64 = Recipe(
    family=Family(
        name="shapes64",
        text=TextConfig(vocabulary=640, length=32, width=128, layers=4, heads=4, activation="quick_gelu"),
        unet=UNetConfig(
            in_channels=4,
            out_channels=4,
            channels=(64, 128, 128),
            res_blocks=1,
            groups=8,
            attention=(False, True, True),
            context_width=128,
            heads=None,
            head_width=32,
            depth=1,
            linear_projection=True,
        ),
        vae=VAEConfig(image_channels=3, latent_channels=4, channels=(32, 64, 64), res_blocks=1, groups=8, scale=1.0),
        beta_start=0.00085,
        beta_end=0.0120,
        train_steps=1000,
        prediction="v",
        size=64,
        steps=20,
        scale=3.0,
        sampler="dpmpp_2m",
        schedule="karras",
    ),
    scenes=50_000,
    crop=32,
    crops=4,
    perceptual=1.0,
    kl=1e-3,
    noise=0.05,
    vae=Plan(
        steps=4500,
        batch=24,
        learning_rate=1.5e-3,
        warmup=100,
        weight_decay=0.0,
        clip=1.0,
        ema=0.998,
        seed=0,
        save_every=250,
    ),
    text=Plan(
        steps=3000,
        batch=256,
        learning_rate=2e-3,
        warmup=100,
        weight_decay=0.01,
        clip=1.0,
        ema=0.99,
        seed=0,
        save_every=200,
    ),
    unet=Plan(
        steps=5200,
        batch=64,
        learning_rate=1.5e-3,
        warmup=200,
        weight_decay=0.01,
        clip=1.0,
        ema=0.999,
        seed=0,
        save_every=500,
    ),
    reading=Plan(
        steps=3000,
        batch=64,
        learning_rate=1e-3,
        warmup=100,
        weight_decay=0.01,
        clip=1.0,
        ema=0.995,
        seed=1,
        save_every=500,
    ),
    decoder=Plan(
        steps=2500,
        batch=8,
        learning_rate=1e-3,
        warmup=100,
        weight_decay=0.0,
        clip=1.0,
        ema=0.995,
        seed=0,
        save_every=500,
    ),
    dropped=0.1,
    logit_normal=True,
    gamma=None,
)

RECIPES = {"shapes64": SHAPES64}


def changed(recipe: Recipe, changes: Iterable[str]) -> Recipe:
    """The recipe with parts changed: "unet.steps=500", "family.unet.channels=[32, 64]". Values are JSON, or words."""
    tree = asdict(recipe)
    for change in changes:
        name, equals, text = change.partition("=")
        if not equals:
            raise ValueError(f"{change!r} changes nothing: give NAME=VALUE")
        *path, last = name.split(".")
        part: Any = tree
        for step in path:
            part = part.get(step) if isinstance(part, dict) else None
        if not isinstance(part, dict) or last not in part:
            known = f": there are {', '.join(part)}" if isinstance(part, dict) else ""
            raise ValueError(f"a recipe has no {name!r}{known}")
        part[last] = _like(part[last], text, name)
    plans = {f.name: Plan(**tree[f.name]) for f in fields(Recipe) if f.type is Plan}
    return Recipe(**{**tree, **plans, "family": Family.from_dict(tree["family"])})


def _like(old: Any, text: str, name: str) -> Any:
    """A value of the same type as the old one; a whole number will do for a fraction."""
    try:
        value = json.loads(text)
    except json.JSONDecodeError:
        value = text
    value = tuple(value) if isinstance(value, list) else value
    fraction = isinstance(old, float | None) and isinstance(value, float | int | None)
    if type(value) is not type(old) and not fraction:
        raise ValueError(f"{name} must be like {old!r}, not {value!r}")
    return value
