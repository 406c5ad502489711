"""Wrappers: each makes a denoiser out of a denoiser, so that they combine freely and no sampler knows of them."""

from collections.abc import Callable

from torch import Tensor

from ..tiles import in_tiles
from .denoiser import Denoiser


def projected(denoise: Denoiser, project: Callable[[Tensor], Tensor]) -> Denoiser:
    """Every guess of the clean latent (B, C, H, W) made to agree with what is known of it: project(D(x, sigma)).

    Sampling then goes on from the corrected guess, and fits the unknown to the known.
    """
    return lambda x, sigma: project(denoise(x, sigma))


def inpainted(denoise: Denoiser, clean: Tensor, mask: Tensor) -> Denoiser:
    """D where the mask is 1; where it is 0 the latent is known: clean. Between the two, a blend.

    clean (B, C, H, W); mask (B or 1, 1, H, W). From x = clean + sigma * noise, what is known follows its own noise back
    to clean, and what is not grows in its light. Lugmayr et al. 2022 (RePaint), eq. 8, written for clean latents.
    """
    return projected(denoise, lambda guess: mask * guess + (1 - mask) * clean)


def within(guided: Denoiser, plain: Denoiser, low: float, high: float) -> Denoiser:
    """Guidance at noise levels low < sigma <= high only. Kynkäänniemi et al. 2024, sec. 3.

    High levels decide what there is to see, and guidance there costs variety; at low levels it does nothing.
    """
    return lambda x, sigma: guided(x, sigma) if low < sigma <= high else plain(x, sigma)


def rescaled(guided: Denoiser, plain: Denoiser, phi: float) -> Denoiser:
    """Guidance with the contrast it would have without, mixed with plain guidance: phi of the first.

    Guidance raises the contrast, which overexposes; Lin et al. 2023, eq. 15 and 16, scale the network's output by
    std(without guidance) / std(guided) of each picture. Their network predicts v, so it is done in v here too, for all
    models:  v = (x / (1 + sigma^2) - D) sqrt(1 + sigma^2) / sigma,  whose last factor cancels. `plain` is asked once
    more in each step.
    """

    def denoise(x: Tensor, sigma: float) -> Tensor:
        middle = x / (1 + sigma**2)
        v_guided, v_plain = middle - guided(x, sigma), middle - plain(x, sigma)
        ratio = v_plain.std((1, 2, 3), keepdim=True) / v_guided.std((1, 2, 3), keepdim=True)
        return middle - v_guided * (phi * ratio + 1 - phi)

    return denoise


def tiled(denoise: Denoiser, tile: int, overlap: int) -> Denoiser:
    """D of a latent of any size from tiles that the network can take, averaged where they overlap.

    tile, overlap in latent pixels. All tiles share one noisy latent, so that they grow together without a seam.
    Bar-Tal et al. 2023 (MultiDiffusion), sec. 4.
    """
    return lambda x, sigma: in_tiles(lambda part: denoise(part, sigma), x, tile, overlap)
