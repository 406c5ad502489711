"""What trains a network."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..conditioning import Conditioning

if TYPE_CHECKING:
    from .denoiser import ModelDenoiser


def loss(
    model: ModelDenoiser,
    clean: Tensor,
    conditioning: Conditioning | Tensor,
    t: Tensor,
    noise: Tensor,
    gamma: float | None = None,
) -> Tensor:
    """The mean squared error of what the network predicts. -> (B,)

    clean, noise (B, C, H, W); t (B,) int64 training steps. gamma: weigh by min(snr, gamma) /
    snr on eps, which is min(snr, gamma) / (snr + 1) on v and min(snr, gamma) on x0, so that the
    nearly clean steps don't drown the rest (min-SNR, Hang et al. 2023, sec. 3.4); None weighs
    all steps alike.
    """
    a = model.schedule.alphas_cumprod.to(clean.device)[t].to(clean.dtype)[:, None, None, None]
    signal, sigma = a.sqrt(), (1 - a).sqrt()
    x_t = signal * clean + sigma * noise
    raw = model.network(x_t, t, Conditioning.of(conditioning)).to(clean.dtype)
    targets = {"eps": noise, "v": signal * noise - sigma * clean, "x0": clean}
    errors = (raw - targets[model.prediction]).square().mean((1, 2, 3))
    if gamma is None:
        return errors
    snr = (a / (1 - a)).flatten()
    of_clean = {"eps": snr, "v": snr + 1, "x0": torch.ones_like(snr)}[model.prediction]
    return errors * snr.clamp(max=gamma) / of_clean
