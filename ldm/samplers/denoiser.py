"""From a network's raw prediction to D(x, sigma), the expected clean latent."""

import math
from collections.abc import Callable
from typing import Literal, Protocol, get_args

import torch
from torch import Tensor

from ..conditioning import Conditioning
from .objective import loss
from .schedule import NoiseSchedule

Prediction = Literal["eps", "v", "x0"]
Network = Callable[[Tensor, Tensor, Conditioning], Tensor]  # (x_t, t, conditioning) -> prediction


class Denoiser(Protocol):
    """D(x, sigma): the expected clean latent, given x = clean + sigma * noise."""

    def __call__(self, x: Tensor, sigma: float) -> Tensor: ...


class ModelDenoiser:
    """A network as D(x, sigma, conditioning). The one place that knows what the network predicts.

    The network sees the variance preserving latent
        x_t = sqrt(a) clean + sqrt(1 - a) noise = x / sqrt(1 + sigma^2),    a = 1 / (1 + sigma^2)
    and predicts
        eps:  the noise                                   (Ho et al. 2020, eq. 14)
        v:    sqrt(a) noise - sqrt(1 - a) clean           (Salimans & Ho 2022, sec. 4)
        x0:   the clean latent itself
    """

    def __init__(
        self, network: Network, schedule: NoiseSchedule, prediction: Prediction = "eps"
    ) -> None:
        if prediction not in (known := get_args(Prediction)):
            raise ValueError(f"prediction {prediction!r} is unknown: choose one of {known}")
        self.network, self.schedule, self.prediction = network, schedule, prediction

    loss = loss  # what trains the network

    def __call__(self, x: Tensor, sigma: float, conditioning: Conditioning | Tensor) -> Tensor:
        """x (B, C, H, W) and B rows of conditioning -> the clean latent (B, C, H, W), in x's dtype.

        The network runs in the context's dtype, the arithmetic around it in x's. It is given one
        time (1,) for all rows, so that no rounding in its embedding depends on their number.
        """
        conditioning = Conditioning.of(conditioning)
        scale = math.sqrt(1 + sigma**2)
        t = torch.full((1,), self.schedule.t(sigma), device=x.device)
        raw = self.network((x / scale).to(conditioning.context.dtype), t, conditioning).to(x.dtype)
        if self.prediction == "eps":
            return x - sigma * raw
        if self.prediction == "x0":
            return raw
        return x / scale**2 - sigma / scale * raw
