"""Wrappers: each makes a denoiser of a denoiser, so that they combine freely and no sampler knows
of them."""

from collections.abc import Callable
from itertools import count

from torch import Tensor

from ..runtime.tiles import in_tiles
from .denoiser import Denoiser


def project_denoised(denoise: Denoiser, project: Callable[[Tensor], Tensor]) -> Denoiser:
    """project(D(x, sigma)): every D (B, C, H, W) is made to agree with what is known of the clean
    latent. Sampling goes on from the corrected D, and so fits the unknown to the known."""
    return lambda x, sigma: project(denoise(x, sigma))


def masked_denoiser(denoise: Denoiser, init_latent: Tensor, latent_mask: Tensor) -> Denoiser:
    """D where the mask is 1, which is drawn; the initial latent where it is 0, which is kept; in
    between a blend.

    init_latent (B, C, H, W); latent_mask (B or 1, 1, H, W). From x = init_latent + sigma * noise
    the kept part follows its own first noise back to init_latent. This is not RePaint (Lugmayr et
    al. 2022), which in each step noises the known part of x anew, and resamples.
    """
    return project_denoised(
        denoise, lambda denoised: latent_mask * denoised + (1 - latent_mask) * init_latent
    )


def tiled(denoise: Denoiser, tile: int, overlap: int) -> Denoiser:
    """D of a latent of any size from tiles that the network can take, averaged where they overlap.

    tile, overlap in latent pixels. All tiles share one noisy latent, so that they grow together
    without a seam. Bar-Tal et al. 2023 (MultiDiffusion), sec. 4.
    """
    return lambda x, sigma: in_tiles(lambda part: denoise(part, sigma), x, tile, overlap)


def switched(high: Denoiser, low: Denoiser, below: float) -> Denoiser:
    """One D for the noise levels below a certain one, another for the others."""
    return lambda x, sigma: (low if sigma < below else high)(x, sigma)


def recorded(denoise: Denoiser, record: list[Tensor], start: int = 0) -> Denoiser:
    """Returns what is in the record, call by call from `start` on; after that it computes, and
    records each result.

    A sampler depends on nothing but the results of D and its noise. Given both again, it goes the
    same way again: so a record is all that is needed to leave a sampling and to take it up later,
    whatever the method remembers.
    """
    calls = count(start)

    def replay(x: Tensor, sigma: float) -> Tensor:
        call = next(calls)
        if call == len(record):
            record.append(denoise(x, sigma))
        return record[call].to(x)

    return replay
