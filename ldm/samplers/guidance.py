"""Guidance: one call of the network on several branches of conditioning, and how to combine what it
says of them. More ways to combine stand in `combinations`."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ..conditioning import Conditioning
from .denoiser import ModelDenoiser

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
