"""What several tests share: a model small enough to draw in milliseconds, pictures, comparisons, a
look at what reaches the network, and samplers on data whose denoiser is known."""

import os
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ldm.clip.config import TextConfig
from ldm.clip.model import TextEncoder
from ldm.clip.tokenizer import Tokenizer
from ldm.compat.profiles import Profile
from ldm.conditioning import Conditioning
from ldm.images.files import read_text
from ldm.models.families import Family
from ldm.pipeline.job import Job
from ldm.pipeline.model import LatentDiffusion
from ldm.pipeline.passes import passes
from ldm.request import Request
from ldm.samplers import SAMPLERS, Noise, NoiseSchedule, Sampler, Step
from ldm.unet import UNet, UNetConfig
from ldm.vae import VAE, VAEConfig

MERGES = [("c", "a"), ("ca", "t</w>"), ("d", "o")]

TINY = Family(
    name="tiny",
    text=(
        TextConfig(
            vocabulary=517, length=12, width=16, layers=1, heads=2, mlp_width=64,
            activation="quick_gelu", layer=1, final_norm=True, pad=None, projection=None,
        ),
    ),
    unet=UNetConfig(
        in_channels=4, out_channels=4, concat_channels=0, channels=(32, 64), res_blocks=1, groups=8,
        depth=(0, 1), mid_depth=1, context_width=16, vector_width=None, heads=2, head_width=None,
        linear_projection=False,
    ),
    vae=VAEConfig(
        image_channels=3, latent_channels=4, channels=(32, 32), res_blocks=1, groups=8, scale=0.5
    ),
    beta_start=0.00085, beta_end=0.0120, train_steps=1000, prediction="eps",
    size=16, steps=4, guidance_scale=3.0, sampler="euler", schedule="karras",
)  # fmt: skip


def tiny_networks() -> tuple[TextEncoder, UNet, VAE]:
    """Random weights, but always the same."""
    with torch.random.fork_rng(), torch.device("cpu"):
        torch.manual_seed(0)
        return TextEncoder(TINY.text[0]).eval(), UNet(TINY.unet).eval(), VAE(TINY.vae).eval()


def build_tiny() -> LatentDiffusion:
    return LatentDiffusion(*tiny_networks(), Tokenizer(MERGES, TINY.text[0].length), TINY)


def random_picture(width: int, height: int) -> Image.Image:
    """Every pixel of another colour; always the same."""
    return Image.fromarray(
        np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    )


PICTURE = random_picture(22, 19)  # which no U-Net takes as it is


def pixels(image: Image.Image) -> Any:
    """As numbers that can be subtracted. (H, W, 3)"""
    return np.asarray(image).astype(int)


def normal(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    """Standard normals that are always the same."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def noise_levels(
    profile: Profile,
    noise_schedule: NoiseSchedule,
    sampler: Sampler,
    schedule: str,
    steps: int,
    strength: float | None,
    full: bool,
) -> list[float]:
    """The sigmas to walk in the first pass of a request."""
    request = Request(
        steps=steps, strength=strength, full_steps=full, width=8, height=8,
        sampler=sampler.name, schedule=schedule,
    )  # fmt: skip
    return [*passes(request, profile, noise_schedule, factor=1)[0].sigmas]


def latents(
    model: LatentDiffusion, request: Request | Job, image: Any = None, **given: Any
) -> Tensor:
    """The clean latents of a request's pictures."""
    return [step.x for step in model.steps(request, image, **given)][-1]


def levels(model: LatentDiffusion, image: Any = None, **options: Any) -> list[float]:
    """The noise levels of a request's first pass."""
    return list(model.resolve(Request(**options), image).passes[0].sigmas)


def assert_same(one: Tensor, other: Tensor, bound: float = 1e-5) -> None:
    """To `bound` of the latents' size, which random weights make greater than 1."""
    torch.testing.assert_close(one, other, atol=bound * other.abs().max().item(), rtol=0)


def differ(one: Tensor, other: Tensor) -> bool:
    """Whether two of one shape are further apart than rounding is."""
    return one.shape == other.shape and bool((one - other).abs().max() > 2e-5 * other.abs().max())


class Call(NamedTuple):
    """What the U-Net was given."""

    x: Tensor
    t: Tensor
    conditioning: Conditioning


@contextmanager
def network_calls(model: LatentDiffusion) -> Iterator[list[Call]]:
    """Every call of the U-Net within the block, as it is made."""
    calls: list[Call] = []
    handle = model.unet.register_forward_pre_hook(lambda _, inputs: calls.append(Call(*inputs)))
    try:
        yield calls
    finally:
        handle.remove()


def first_call(model: LatentDiffusion, request: Request, image: Any = None, **given: Any) -> Call:
    """What the U-Net is given first."""
    with network_calls(model) as calls:
        next(model.steps(request, image, **given))
    return calls[0]


# Samplers on data whose denoiser is known

MU, S = 0.7, 1.0  # of data that are normal, N(MU, S^2)


def gaussian(x: Tensor, sigma: float) -> Tensor:
    """The exact denoiser of N(MU, S^2)."""
    return MU + S**2 / (S**2 + sigma**2) * (x - MU)


def grid(steps: int, top: float = 8.0) -> list[float]:
    """Noise levels from `top` to 0, dense at the end."""
    return [top * (1 - i / steps) ** 3 for i in range(steps + 1)]


class NoNoise(Noise):
    """For runs that must not draw."""

    def __init__(self) -> None:
        super().__init__([])

    def _check(self, x: Tensor) -> None:
        raise AssertionError("a deterministic run asked for noise")


class RecordedNoise(Noise):
    """Noise that keeps what it gave."""

    def __init__(self, seeds: list[int]) -> None:
        super().__init__(seeds)
        self.given: list[Tensor] = []

    def __call__(self, x: Tensor) -> Tensor:
        self.given.append(super().__call__(x))
        return self.given[-1]

    def path(self, x: Tensor, start: float, end: float) -> Tensor:
        self.given.append(super().path(x, start, end))
        return self.given[-1]


def walk(
    sampler: Sampler, x: Tensor, sigmas: list[float], noise: Noise, **options: Any
) -> list[Step]:
    """Every step with the exact denoiser."""
    return list(sampler.run(gaussian, x, sigmas, noise, **options))


QUIET: dict[str, dict[str, Any]] = {  # the options that switch a sampler's randomness off
    **{s.name: {"eta": 0.0} if s.stochastic else {} for s in SAMPLERS.values()},
    "restart": {"restarts": []},
    "ddpm": {},  # it has none
    "lcm": {},
}


def names(folder):
    """What a folder holds."""
    return sorted(path.name for path in folder.iterdir())


def request_in(path):
    """The request that a picture's file keeps."""
    return Request.from_json(read_text(path)["ldm"])


TIMES = int(os.environ.get("LDM_FUZZ", "1"))  # as many cases as otherwise


class Door:
    """Counts how what comes in from outside ends, each in a result or in an error, whose line and
    warnings are printable, one line each and short; and soon.

    read, refused   how many ended so
    longest         seconds of processor time that the slowest of them took
    megabytes       that all of them together may take
    """

    SECONDS, LETTERS = 10, 500

    def __init__(self):
        self.read, self.refused, self.longest, self.megabytes = 0, 0, 0.0, 500

    def ends(self, function, *given, errors=ValueError, **options):
        """What the function gives, or None where it refuses in a line."""
        start, found, lines = time.process_time(), None, []
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            try:
                found = function(*given, **options)
                self.read += 1
            except errors as error:
                lines = [str(error)]
                self.refused += 1
        took = time.process_time() - start
        self.longest = max(self.longest, took)
        assert took < self.SECONDS
        for line in [*lines, *(str(one.message) for one in told if one.category is UserWarning)]:
            assert line.isprintable(), line[:1000]
            assert len(line) <= self.LETTERS, line[:1000]
        return found
