"""Guidance: one call of the network on several branches of conditioning, and the ways to combine
what it says of them."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ..conditioning import Conditioning
from .denoiser import Denoiser, ModelDenoiser

Combine = Callable[[Tensor, Tensor, float], Tensor]  # D of P branches (P, B, C, H, W), x, sigma


class Guided:
    """A denoiser of P branches: B latents are denoised under each of them, all P * B in one batch,
    and combined into one D.

    branches  B rows of conditioning each: the negative first (what to draw away from; where there
              is none, the empty prompt), then the positives
    """

    def __init__(
        self, model: ModelDenoiser, branches: Sequence[Conditioning], combine: Combine
    ) -> None:
        self.model, self.count, self.combine = model, len(branches), combine
        self.conditioning = Conditioning.stack(branches)

    def __call__(self, x: Tensor, sigma: float) -> Tensor:
        rows = torch.cat([x] * self.count)  # unlike `repeat` it keeps the layout in memory
        denoised = self.model(rows, sigma, self.conditioning)
        return self.combine(denoised.reshape(self.count, *x.shape), x, sigma)


def unguided(denoised: Tensor, x: Tensor, sigma: float) -> Tensor:
    """The last branch as it is; of a single branch, its D."""
    return denoised[-1]


def cfg(scale: float) -> Combine:
    """Classifier-free guidance:  D = D(negative) + scale * (D(positive) - D(negative)).

    Ho & Salimans 2022, eq. 6, with scale = 1 + w, for the empty prompt as the negative. A negative
    prompt in its place is not in the paper; it is a practice of AUTOMATIC1111's web UI.
    """
    return lambda denoised, x, sigma: denoised[0] + scale * (denoised[1] - denoised[0])


def composable_guidance(weights: Tensor, scale: float) -> Combine:
    """Guidance by P prompts:  D = D(negative) + scale * sum over p of w_p (D(p) - D(negative)).

    weights (P, B). Liu et al. 2022, "Compositional visual generation with composable diffusion
    models", eq. 11. A single prompt of weight 1 is `cfg`.
    """
    pulls = scale * weights[..., None, None, None]
    return lambda denoised, x, sigma: denoised[0] + (pulls * (denoised[1:] - denoised[0])).sum(0)


def guidance_rescale(guided: Combine, plain: Combine, phi: float) -> Combine:
    """Guidance with the contrast it would have without, phi of it; the rest is plain guidance.

    Guidance raises the contrast, which overexposes. Lin et al. 2023, eq. 15 and 16, scale the
    network's output by std(without guidance) / std(guided) of each picture. Their network predicts
    v, so for all models it is done in v = (x / (1 + sigma^2) - D) sqrt(1 + sigma^2) / sigma, whose
    last factor cancels.
    """

    def combine(denoised: Tensor, x: Tensor, sigma: float) -> Tensor:
        middle = x / (1 + sigma**2)
        v_guided, v_plain = (middle - way(denoised, x, sigma) for way in (guided, plain))
        ratio = v_plain.std((1, 2, 3), keepdim=True) / v_guided.std((1, 2, 3), keepdim=True)
        return middle - v_guided * (phi * ratio + 1 - phi)

    return combine


def guidance_interval(guided: Denoiser, plain: Denoiser, low: float, high: float) -> Denoiser:
    """Guidance at noise levels low < sigma <= high only. Kynkäänniemi et al. 2024, sec. 3.

    It harms variety at high noise levels and is largely unnecessary at low ones. This chooses
    between two denoisers, not two combinations, as `plain` then has fewer rows to compute.
    """
    return lambda x, sigma: guided(x, sigma) if low < sigma <= high else plain(x, sigma)
