"""Things, 64 pixels: 2,410 of them in several styles, and a small part for a first training.

THINGS64 has the networks of SHAPES64, wider: there is more to know, and captions are longer. Its
VAE starts as the built-in model's, which gives back pictures of things with 23.6 dB, and with
25.5 dB after 120 s of fine-tuning on them; 8,000 steps from nothing would take 40 minutes of a CPU
core. Not trained to its end yet.

THINGS_SMALL is for a learner: 109 things (`familiar`). VAE and U-Net start as the built-in
model's, the text encoder from nothing. On one core that others used, too, with --autocast
(bfloat16), its stages took 134 s, 53 s, 878 s and 81 s, and encoding 20 s. Of 80 captions, one
picture each, somebody who knew the list of things named 78 without seeing the captions; edges are
rough, and a green apple is red. The VAE gives back pictures of its things with 28.0 dB (the
built-in one: 20.7).

Tried, in seconds of one core (AMD EPYC with bfloat16), steps of 64 latents unless said:

- captions cut at 24 tokens, not 40: 1.46 s a step, not 1.70 s; 99.2 % of the captions of
  THINGS64 fit. Taken.
- fused AdamW: 7 ms, not 22 ms, for 6.7 M weights, 2 % of a step. Taken.
- bfloat16: a step takes about half as long. Taken.
- a VAE of factor 8 with 8 channels: a step of a U-Net as large takes 0.6 s. But from nothing the
  VAE reached 12 dB in 50 s (a narrow one of factor 4: 14 dB); begun with the levels of the
  built-in one, 18.2, 19.5 and 20.1 dB after 60, 120 and 180 s, blurred, small things lost. Left.
- joint fine-tuning of 150 steps for THINGS_SMALL: worse pictures than without. Left out.
- for a VAE of factor 8 from nothing: one crop a picture, 12 crops a step, wider levels, a smaller
  learning rate, less noise or blocks that add nothing at first: no faster within 30 to 40 s.
"""

from dataclasses import replace

from ..shapes.recipe import JOINT, SHAPES64

TEXT = replace(
    SHAPES64.family.text[0], vocabulary=8192, length=24, width=256, heads=8, mlp_width=1024
)
UNET = replace(SHAPES64.family.unet, channels=(64, 128, 224), context_width=256)
FAMILY = replace(SHAPES64.family, name="things64", text=(TEXT,), unet=UNET)

THINGS64 = replace(
    SHAPES64,
    family=FAMILY,
    scenes=150_000,
    merges=3000,
    vae=replace(SHAPES64.vae, steps=2000, lr=6e-4, save_every=500),
    text=replace(SHAPES64.text, steps=6000),
    unet=replace(SHAPES64.unet, steps=24_000, lr=8e-4, ema=0.9995, save_every=500),
    joint=replace(JOINT, steps=5000, lr=4e-4, ema=0.999),
    decoder=replace(SHAPES64.decoder, steps=5000),
    start=("vae",),
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
    start=("vae", "unet"),
)
