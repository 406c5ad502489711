"""From a network's raw prediction to D(x, sigma), the expected clean latent; guidance by prompts; and a record of D."""

import math
from collections.abc import Callable
from itertools import count
from typing import Literal, Protocol

import torch
from torch import Tensor

from .schedule import NoiseSchedule

Prediction = Literal["eps", "v"]
Network = Callable[[Tensor, Tensor, Tensor], Tensor]  # unet(x, t, context) -> raw prediction


class Denoiser(Protocol):
    """D(x, sigma): the expected clean latent, given x = clean + sigma * noise."""

    def __call__(self, x: Tensor, sigma: float) -> Tensor: ...


class ModelDenoiser:
    """A trained network as D(x, sigma, context). The one place that knows what the network predicts.

    The network sees the variance preserving latent  x_t = sqrt(a) clean + sqrt(1 - a) noise = x / sqrt(1 + sigma^2),
    where a = 1 / (1 + sigma^2), and predicts
        eps:  the noise                                   (Ho et al. 2020, eq. 14)
        v:    sqrt(a) noise - sqrt(1 - a) clean           (Salimans & Ho 2022, sec. 4)
    """

    def __init__(self, network: Network, schedule: NoiseSchedule, prediction: Prediction = "eps") -> None:
        if prediction not in ("eps", "v"):
            raise ValueError(f"prediction {prediction!r} is unknown: choose 'eps' or 'v'")
        self.network, self.schedule, self.prediction = network, schedule, prediction

    def __call__(self, x: Tensor, sigma: float, context: Tensor) -> Tensor:
        """x (B, C, H, W), context (B, L, D) -> the clean latent (B, C, H, W), in x's dtype.

        The network runs in the context's dtype, the arithmetic around it in x's.
        """
        scale = math.sqrt(1 + sigma**2)
        t = torch.full((len(x),), self.schedule.t(sigma), device=x.device)
        raw = self.network((x / scale).to(context.dtype), t, context).to(x.dtype)
        if self.prediction == "eps":
            return x - sigma * raw
        return x / scale**2 - sigma / scale * raw

    def loss(self, clean: Tensor, context: Tensor, t: Tensor, noise: Tensor, gamma: float | None = None) -> Tensor:
        """The mean squared error of what the network predicts. -> (B,)

        clean, noise (B, C, H, W); t (B,) int64 training steps. gamma: weigh by min(snr, gamma) / snr on eps, which is
        min(snr, gamma) / (snr + 1) on v, so that the nearly clean steps don't drown the rest (min-SNR, Hang et al.
        2023, sec. 3.4); None weighs all steps alike.
        """
        a = self.schedule.alphas_cumprod.to(clean.device)[t].to(clean.dtype)[:, None, None, None]
        signal, sigma = a.sqrt(), (1 - a).sqrt()
        raw = self.network(signal * clean + sigma * noise, t, context).to(clean.dtype)
        target = noise if self.prediction == "eps" else signal * noise - sigma * clean
        errors = (raw - target).square().mean((1, 2, 3))
        if gamma is None:
            return errors
        snr = (a / (1 - a)).flatten()
        return errors * snr.clamp(max=gamma) / (snr if self.prediction == "eps" else snr + 1)


def guided(model: ModelDenoiser, positive: Tensor, negative: Tensor | None, scale: float) -> Denoiser:
    """Classifier-free guidance:  D = D(negative) + scale * (D(positive) - D(negative)).  Ho & Salimans 2022, eq. 6.

    positive, negative (B, L, D): what to draw, and what to draw away from; both in one batch of 2B.
    At scale 1, or without a negative, the model is called once, on the positive alone.
    """
    if negative is None or scale == 1:
        return lambda x, sigma: model(x, sigma, positive)
    both = torch.cat([negative, positive])

    def denoise(x: Tensor, sigma: float) -> Tensor:
        without, with_ = model(torch.cat([x, x]), sigma, both).chunk(2)
        return without + scale * (with_ - without)

    return denoise


def composed(model: ModelDenoiser, positives: Tensor, weights: Tensor, negative: Tensor, scale: float) -> Denoiser:
    """Guidance by P prompts at once:  D = D(negative) + scale * sum_p weights[p] * (D(positives[p]) - D(negative)).

    Liu et al. 2022, "Compositional visual generation with composable diffusion models", eq. 11. One prompt of weight 1
    is `guided`. positives (P, B, L, D), weights (P, B), negative (B, L, D): all in one batch of (P + 1) B.
    """
    contexts = torch.cat([negative[None], positives])
    pulls = scale * weights[..., None, None, None]

    def denoise(x: Tensor, sigma: float) -> Tensor:
        guesses = model(x.repeat(len(contexts), 1, 1, 1), sigma, contexts.flatten(0, 1))
        guesses = guesses.reshape(len(contexts), *x.shape)
        without, with_ = guesses[0], guesses[1:]
        return without + (pulls * (with_ - without)).sum(0)

    return denoise


def recorded(denoise: Denoiser, record: list[Tensor]) -> Denoiser:
    """D that gives back what is in the record, call by call; after that it computes, and adds each result to it.

    A sampler depends on nothing but the results of D and on its noise. Given both again, it goes the same way again:
    so a record is all that is needed to leave a sampling and to take it up later, whatever the method remembers.
    """
    calls = count()

    def replay(x: Tensor, sigma: float) -> Tensor:
        call = next(calls)
        if call == len(record):
            record.append(denoise(x, sigma))
        return record[call].to(x)

    return replay
