"""What made the built-in model: 64 pixels, procedural scenes, 159 minutes on two CPU cores."""

from dataclasses import replace

from ...clip.config import TextConfig
from ...models.families import Family
from ...unet import UNetConfig
from ...vae import VAEConfig
from ..loop import TrainConfig
from ..recipe import Recipe

FAMILY = Family(
    name="shapes64",
    text=(
        TextConfig(
            vocabulary=640,
            length=32,
            width=128,
            layers=4,
            heads=4,
            mlp_width=512,
            activation="quick_gelu",
            layer=1,
            final_norm=True,
            pad=None,
            projection=None,
        ),
    ),
    unet=UNetConfig(
        in_channels=4,
        out_channels=4,
        concat_channels=0,
        channels=(64, 128, 128),
        res_blocks=1,
        groups=8,
        depth=(0, 1, 1),
        mid_depth=1,
        context_width=128,
        vector_width=None,
        heads=None,
        head_width=32,
        linear_projection=True,
    ),
    vae=VAEConfig(
        image_channels=3,
        latent_channels=4,
        channels=(32, 64, 64),
        res_blocks=1,
        groups=8,
        scale=1.0,
    ),
    beta_start=0.00085,
    beta_end=0.0120,
    train_steps=1000,
    prediction="v",
    size=64,
    steps=20,
    guidance_scale=3.0,
    sampler="dpmpp_2m",
    schedule="karras",
    upscale_strength=0.1,
    hires_strength=0.1,
    hires_upscaler="pixels",
    outpaint_blur=8.0,
)

VAE = TrainConfig(
    steps=4500,
    batch=24,
    lr=1.5e-3,
    warmup=100,
    weight_decay=0.0,
    clip=1.0,
    ema=0.998,
    seed=0,
    save_every=250,
)
TEXT = replace(VAE, steps=3000, batch=256, lr=2e-3, weight_decay=0.01, ema=0.99, save_every=200)
UNET = replace(TEXT, steps=5200, batch=64, lr=1.5e-3, warmup=200, ema=0.999, save_every=500)
JOINT = replace(UNET, steps=3000, lr=1e-3, warmup=100, ema=0.995, seed=1)
DECODER = replace(VAE, steps=2500, batch=8, lr=1e-3, ema=0.995, save_every=500)

SHAPES64 = Recipe(
    family=FAMILY,
    scenes=50_000,
    merges=0,
    crop=32,
    crops=4,
    gradient_difference=1.0,
    kl=1e-3,
    noise=0.05,
    vae=VAE,
    text=TEXT,
    unet=UNET,
    joint=JOINT,
    decoder=DECODER,
    cond_drop_prob=0.1,
    logit_normal=True,
    gamma=None,
)
