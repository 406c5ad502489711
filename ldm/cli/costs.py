"""How long a large picture will take: attention looks from every pixel of a latent at every other,
so that four times the pixels take sixteen times as long."""

from __future__ import annotations

import math
import time
from itertools import chain

from ..layers import attention
from ..pipeline import Job, LatentDiffusion
from ..unet import UNet

TOKENS = 2048  # that are timed
SCENE = 256  # pixels of a side, below which a tile of a picture is drawn as a whole one
LONG = 20.0  # seconds of a step, from which on they are told


def large(job: Job, model: LatentDiffusion) -> str:
    """What is said of a picture much larger than those that the model has learnt from."""
    part, side = job.passes[-1], model.family.size
    times = part.width * part.height / side**2
    told = f"{part.width} x {part.height} is {times:.0f} times the area that the model was trained"
    told += f" on, {side} x {side}"
    rows = job.request.total * (2 if job.guided else 1)
    height, width = part.latent_size(model.vae.factor)
    seconds = rows * attention_seconds(model.unet, height, width)
    if seconds > LONG:
        told += f": a step will take {duration(seconds)} for its attention alone"
    return told + advice(job, side)


def advice(job: Job, side: int) -> str:
    """What to do instead: a tile of a family of small pictures is drawn as a whole scene, so these
    are enlarged."""
    if side >= SCENE:
        return f"; --tile {side} draws in tiles"
    if job.request.hires is not None:
        return ""
    times = min(16, math.ceil(max(job.size) / side))
    what = f"draws {side} x {side} and enlarges it, as `ldm upscale` does a picture"
    return f"; --hires {times} with --W {side} --H {side} {what}"


def attention_seconds(unet: UNet, height: int, width: int) -> float:
    """Of all self-attention in a call of the U-Net on one latent of that size, from the time of
    attention among fewer tokens here and now."""
    total, config = 0.0, unet.config
    levels = [*enumerate(unet.down), *enumerate(reversed(unet.up))]
    for level, channels in enumerate(config.channels):
        inside = chain.from_iterable(part.modules() for i, part in levels if i == level)
        count = sum(hasattr(module, "self_attn") for module in inside)
        if count and level not in config.only_cross_attention:
            tokens = (height >> level) * (width >> level)
            x = unet.out.weight.new_zeros(1, TOKENS, channels)
            begun = time.perf_counter()
            attention(x, x, x, config.heads_at(channels)).sum().item()  # waits for a GPU
            total += count * (time.perf_counter() - begun) * (tokens / TOKENS) ** 2
    return total


def duration(seconds: float) -> str:
    """
    >>> duration(45), duration(600), duration(9000)
    ('about 45 seconds', 'about 10 minutes', 'about 2.5 hours')
    """
    if seconds < 100:
        return f"about {seconds:.0f} seconds"
    if seconds < 6000:
        return f"about {seconds / 60:.0f} minutes"
    return f"about {seconds / 3600:.1f} hours"
