"""A thousand things in several styles, 64 pixels: a longer training than that of the shapes.

The networks are those of SHAPES64, wider: there is more to know, and captions are longer.
"""

from dataclasses import replace

from ..shapes.recipe import SHAPES64

TEXT = replace(
    SHAPES64.family.text[0], vocabulary=8192, length=40, width=256, heads=8, mlp_width=1024
)
UNET = replace(SHAPES64.family.unet, channels=(64, 128, 224), context_width=256)
VAE = replace(SHAPES64.family.vae, channels=(32, 64, 96))
FAMILY = replace(SHAPES64.family, name="things64", text=(TEXT,), unet=UNET, vae=VAE)

THINGS64 = replace(
    SHAPES64,
    family=FAMILY,
    scenes=150_000,
    merges=3000,
    vae=replace(SHAPES64.vae, steps=8000, save_every=500),
    text=replace(SHAPES64.text, steps=6000),
    unet=replace(SHAPES64.unet, steps=24_000, lr=8e-4, ema=0.9995, save_every=500),
    joint=replace(SHAPES64.joint, steps=5000, lr=4e-4, ema=0.999),
    decoder=replace(SHAPES64.decoder, steps=5000),
)

SMALL = replace(
    SHAPES64.family,
    name="things-small",
    text=(replace(SHAPES64.family.text[0], vocabulary=1024, length=24, layers=2),),
)

THINGS_SMALL = replace(
    SHAPES64,
    family=SMALL,
    scenes=6000,
    merges=400,
    vae=replace(SHAPES64.vae, steps=500, lr=6e-4, warmup=30, ema=0.99),
    text=replace(SHAPES64.text, steps=600, batch=128, ema=0.98),
    unet=replace(SHAPES64.unet, steps=1400, batch=32, lr=1e-3, ema=0.99, save_every=350),
    joint=None,
    decoder=replace(SHAPES64.decoder, steps=200, ema=0.98, save_every=200),
)
