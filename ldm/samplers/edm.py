"""EDM: networks trained at continuous noise levels. Karras et al. 2022, "Elucidating the design
space of diffusion-based generative models"."""

import math

import torch
from torch import Tensor

from ..conditioning import Conditioning
from .denoiser import ModelDenoiser
from .schedule import NoiseSchedule


class EDMSchedule(NoiseSchedule):
    """The noise levels from `low` to `high`, of data of standard deviation `data`.

    There are no training steps; what is spaced in these takes 1000 levels evenly spaced in their
    logarithm for them, as ComfyUI does.
    """

    def __init__(self, low: float, high: float, data: float) -> None:
        logs = torch.linspace(math.log(low), math.log(high), 1000, dtype=torch.float64)
        self.sigmas = logs.exp()
        self.alphas_cumprod = 1 / (1 + self.sigmas**2)
        self.linear_sigma, self.round_t, self.data = False, False, data
        self._y = logs.tolist()


class EDMDenoiser(ModelDenoiser):
    """A network F as D(x, sigma, conditioning), for data of standard deviation s, the
    schedule's:

        D = c_skip x + c_out F(c_in x; c_noise)                               (eq. 7, table 1)
        c_skip = s^2 / (sigma^2 + s^2)            c_out = sigma s / sqrt(sigma^2 + s^2)
        c_in = 1 / sqrt(sigma^2 + s^2)            c_noise = ln(sigma) / 4

    prediction   eps: as above; v: c_out is negative, so that at s = 1 F is the v of `ModelDenoiser`
    """

    @property
    def data(self) -> float:
        assert isinstance(self.schedule, EDMSchedule)
        return self.schedule.data

    def __call__(self, x: Tensor, sigma: float, conditioning: Conditioning | Tensor) -> Tensor:
        """See `ModelDenoiser`."""
        conditioning = Conditioning.of(conditioning)
        norm, sign = math.hypot(sigma, self.data), 1 if self.prediction == "eps" else -1
        c_noise = torch.full((1,), math.log(max(sigma, 1e-10)) / 4, device=x.device)
        raw = self.network((x / norm).to(conditioning.context.dtype), c_noise, conditioning)
        c_skip, c_out = self.data**2 / norm**2, sign * sigma * self.data / norm
        return c_skip * x + c_out * raw.to(x.dtype)

    def loss(
        self,
        clean: Tensor,
        conditioning: Conditioning | Tensor,
        t: Tensor,
        noise: Tensor,
        gamma: float | None = None,
    ) -> Tensor:
        """The mean squared error of F (eq. 8). t (B,) int64: numbers of levels, see EDMSchedule.
        Others: see `ModelDenoiser`; gamma weighs by min(snr, gamma) on D, which is c_out F."""
        sigma = self.schedule.sigmas.to(clean.device)[t].to(clean.dtype)[:, None, None, None]
        norm, sign = (sigma**2 + self.data**2).sqrt(), 1 if self.prediction == "eps" else -1
        x = clean + sigma * noise
        c_noise = sigma.flatten().log() / 4
        raw = self.network(x / norm, c_noise, Conditioning.of(conditioning)).to(clean.dtype)
        c_skip, c_out = self.data**2 / norm**2, sign * sigma * self.data / norm
        errors = (raw - (clean - c_skip * x) / c_out).square().mean((1, 2, 3))
        if gamma is None:
            return errors
        return errors * c_out.flatten() ** 2 * (sigma.flatten() ** -2).clamp(max=gamma)


def check_edm(values: tuple[float, ...], prediction: str) -> None:
    """ValueError unless these can be EDM's noise levels and deviation, and prediction."""
    low, high, data = values if len(values) == 3 else (0, 0, 0)
    if not 0 < low < high < 1e6 or not 0 < data < 1e6:
        raise ValueError(
            f"edm {values}: give two noise levels that rise from above 0, and a standard deviation "
            "above 0"
        )
    if prediction not in ("eps", "v"):
        raise ValueError(f"a network with EDM's noise predicts eps or v, not {prediction!r}")
