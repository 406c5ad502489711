"""How the cost of a step grows with the picture and with the batch, beside its arithmetic."""

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial

import torch
from torch.utils.flop_counter import FlopCounterMode

import ldm
from ldm.conditioning import Conditioning
from ldm.layers import packed
from ldm.models.families import Family
from ldm.pipeline.given import Given
from ldm.runtime.allocator import reused
from ldm.samplers import Guided, ModelDenoiser, cfg
from ldm.unet import UNet

from .computing import SCALE
from .measuring import seconds

SIZES = (256, 384, 512, 640, 768, 896, 1024)
BATCHES = (1, 2, 3, 4, 6, 8)
SIGMA = 5.0


@dataclass
class Point:
    """size in pixels, batch pictures at once; seconds of a guided step, and the floating-point
    operations of the U-Net in it, in 10^12"""

    size: int
    batch: int
    seconds: float
    teraflops: float


def teraflops(family: Family, size: int, batch: int) -> float:
    """What a guided step of so many pictures takes, counted on a network without numbers: a
    multiplication and an addition are two."""
    config, side = family.unet, size // family.vae.factor
    with torch.device("meta"):
        unet = UNet(config)
        x = torch.empty(2 * batch, config.in_channels, side, side)
        told = rows(family, 2 * batch, 77, side)
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            unet(x, torch.empty(1), told)
    return counter.get_total_flops() / 1e12


def rows(family: Family, count: int, length: int, side: int) -> Conditioning:
    """Of the shapes that the U-Net reads, and of no meaning."""
    config = family.unet
    vector, concat = config.vector_width, config.concat_channels
    return Conditioning(
        torch.randn(count, length, config.context_width),
        None if vector is None else torch.randn(count, vector),
        torch.randn(count, concat, side, side) if concat else None,
    )


def grown(
    model: ldm.LatentDiffusion,
    sizes: tuple[int, ...] = SIZES,
    batches: tuple[int, ...] = BATCHES,
    base: int = 512,
    repeats: int = 3,
) -> Iterator[Point]:
    """One picture of each size; then each number of pictures of the size `base`."""
    family, device = model.family, model.device
    core = ModelDenoiser(model.unet, family.noise_schedule(), family.prediction)
    for size, batch in [*((size, 1) for size in sizes), *((base, batch) for batch in batches)]:
        side = size // family.vae.factor
        given = Given(conditioning=(rows(family, batch, 77, side),) * 2)
        told = given.told(batch, model.dtype, device)
        x = torch.randn(batch, family.vae.latent_channels, side, side, device=device)
        step: Callable[[], object] = partial(Guided(core, told, cfg(SCALE)), x, SIGMA)
        with torch.inference_mode(), packed(model.unet), reused():
            times = sorted(seconds(step, device) for _ in range(1 + repeats))
        yield Point(size, batch, times[len(times) // 2], teraflops(family, size, batch))


def as_json(points: list[Point]) -> list[dict[str, float]]:
    return [asdict(point) for point in points]
