"""DPM-Solver++ with noise: the exponential integrators of `dpmpp` as solvers of the reverse
diffusion equation, in one step with a D in its middle (2S, SDE) or from the last few D (2M, 3M).

With h = lambda' - lambda, D the denoised latent and z a standard normal, see `dpmpp`.
"""

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Literal

from torch import Tensor

from .denoiser import Denoiser
from .dpmpp import log_ratio
from .noise import Noise
from .registry import Step, sampler
from .steps import ancestral


@sampler(order=2, stochastic=True, label="DPM++ 2S a", schedule="karras", calls_per_step=2)
def dpmpp_2s_ancestral(
    denoise: Denoiser,
    x: Tensor,
    sigmas: Sequence[float],
    noise: Noise,
    *,
    eta: float = 1.0,
    s_noise: float = 1.0,
) -> Iterator[Step]:
    """DPM-Solver++(2S) to a level below the next, then noise up to it (`ancestral`). Lu et al.
    2022b, algorithm 1; as a stochastic method k-diffusion's.

    The whole step takes the D of its middle in log sigma; the last is of order 1. n steps call the
    model 2n - 1 times.
    """
    for i, (sigma, sigma_next) in enumerate(pairwise(sigmas)):
        denoised = denoised_mid = denoise(x, sigma)
        sigma_down, sigma_up = ancestral(sigma, sigma_next, eta)
        if sigma_down > 0:
            sigma_mid = (sigma * sigma_down) ** 0.5
            x_mid = denoised + sigma_mid / sigma * (x - denoised)
            denoised_mid = denoise(x_mid, sigma_mid)
        x = denoised_mid + sigma_down / sigma * (x - denoised_mid)
        if sigma_up > 0:
            x = x + s_noise * sigma_up * noise(x)
        yield Step(i, sigma_next, x, denoised)


@sampler(
    order=2,
    stochastic=True,
    label="DPM++ SDE",
    schedule="karras",
    calls_per_step=2,
    schedules={"diffusers": "uniform"},
    starts_from_sigma=("diffusers",),
)
def dpmpp_sde(
    denoise: Denoiser,
    x: Tensor,
    sigmas: Sequence[float],
    noise: Noise,
    *,
    eta: float = 1.0,
    s_noise: float = 1.0,
    r: float = 0.5,
) -> Iterator[Step]:
    """DPM-Solver++(2S) with noise: a step to the point r of the way in log sigma, then the whole
    step with the D found there; each goes down without noise and up with it (`ancestral`).

    Lu et al. 2022b, algorithm 1; as a stochastic method Crowson's k-diffusion, `sample_dpmpp_sde`.
    The noise of both steps are increments of one Brownian path. n steps call the model 2n - 1
    times.
    """
    for i, (sigma, sigma_next) in enumerate(pairwise(sigmas)):
        denoised = denoise(x, sigma)
        if sigma_next == 0:
            yield Step(i, sigma_next, denoised, denoised)
            return
        sigma_mid = sigma * (sigma_next / sigma) ** r
        sigma_down, sigma_up = ancestral(sigma, sigma_mid, eta)
        x_mid = denoised + sigma_down / sigma * (x - denoised)
        if sigma_up > 0:
            x_mid = x_mid + s_noise * sigma_up * noise.path(x, sigma, sigma_mid)
        denoised_mid = denoised + (denoise(x_mid, sigma_mid) - denoised) / (2 * r)
        sigma_down, sigma_up = ancestral(sigma, sigma_next, eta)
        x = denoised_mid + sigma_down / sigma * (x - denoised_mid)
        if sigma_up > 0:
            x = x + s_noise * sigma_up * noise.path(x, sigma, sigma_next)
        yield Step(i, sigma_next, x, denoised)


@sampler(
    order=2,
    stochastic=True,
    label="DPM++ 2M SDE",
    schedule="exponential",
    schedules={"diffusers": "sgm_linspace"},
)
def dpmpp_2m_sde(
    denoise: Denoiser,
    x: Tensor,
    sigmas: Sequence[float],
    noise: Noise,
    *,
    eta: float = 1.0,
    s_noise: float = 1.0,
    solver_type: Literal["midpoint", "heun"] = "midpoint",
) -> Iterator[Step]:
    """SDE-DPM-Solver++(2M): the multistep method on the reverse diffusion equation. Lu et al.
    2022b, for eta = 1; eta is Crowson's (k-diffusion, `sample_dpmpp_2m_sde`).

    The noise stretches the step in lambda to k = (1 + eta) h, and eta h of it is put back as
    variance:

        x' = e^-k x + (1 - e^-k) D + slope term + sigma' sqrt(1 - e^(-2 eta h)) z

    The slope term is  (1 - e^-k) / 2 (D - last) h / h_last  for the midpoint rule and, for "heun",
    the exact integral of the line through both,  (1 - (1 - e^-k) / k) (D - last) h / h_last.  One
    model call a step.
    """
    if solver_type not in ("midpoint", "heun"):
        raise ValueError(f"solver_type {solver_type!r} is unknown: choose 'midpoint' or 'heun'")
    last, h_last = None, 0.0
    for i, (sigma, sigma_next) in enumerate(pairwise(sigmas)):
        denoised = denoise(x, sigma)
        if sigma_next == 0:
            yield Step(i, sigma_next, denoised, denoised)
            return
        h = log_ratio(sigma, sigma_next)
        k = (1 + eta) * h
        whole = -math.expm1(-k)
        x = math.exp(-k) * x + whole * denoised
        if last is not None:
            weight = whole / 2 if solver_type == "midpoint" else 1 - whole / k
            x = x + weight * h / h_last * (denoised - last)
        if eta > 0:
            sigma_up = s_noise * sigma_next * math.sqrt(-math.expm1(-2 * eta * h))
            x = x + sigma_up * noise.path(x, sigma, sigma_next)
        yield Step(i, sigma_next, x, denoised)
        last, h_last = denoised, h


@sampler(order=2, stochastic=True, label="DPM++ 2M SDE Heun", schedule="exponential")
def dpmpp_2m_sde_heun(
    denoise: Denoiser,
    x: Tensor,
    sigmas: Sequence[float],
    noise: Noise,
    *,
    eta: float = 1.0,
    s_noise: float = 1.0,
) -> Iterator[Step]:
    """`dpmpp_2m_sde` with the Heun type of slope term."""
    return dpmpp_2m_sde(denoise, x, sigmas, noise, eta=eta, s_noise=s_noise, solver_type="heun")


@sampler(
    order=2,
    stochastic=True,
    label="DPM++ 3M SDE",
    schedule="exponential",
    discard_next_to_last=True,
    discards={"comfyui": False},
)
def dpmpp_3m_sde(
    denoise: Denoiser,
    x: Tensor,
    sigmas: Sequence[float],
    noise: Noise,
    *,
    eta: float = 1.0,
    s_noise: float = 1.0,
) -> Iterator[Step]:
    """As `dpmpp_2m_sde` with the parabola through the last three D, Crowson's k-diffusion,
    `sample_dpmpp_3m_sde`:

        x' = e^-k x + (1 - e^-k) D + phi_2 D' - phi_3 D'' + sigma' sqrt(1 - e^(-2 eta h)) z

    k = (1 + eta) h; D' and D'' are the derivatives of the parabola in units of h, weighted by
    phi_2 = 1 - (1 - e^-k) / k  and  phi_3 = phi_2 / k - 1/2.
    The first two steps are of order 1 and 2 for want of a history, which leaves the whole of order
    2.
    """
    past: list[tuple[float, Tensor]] = []  # h of the step that D was made for, D; newest first
    for i, (sigma, sigma_next) in enumerate(pairwise(sigmas)):
        denoised = denoise(x, sigma)
        if sigma_next == 0:
            yield Step(i, sigma_next, denoised, denoised)
            return
        h = log_ratio(sigma, sigma_next)
        k = (1 + eta) * h
        x = math.exp(-k) * x - math.expm1(-k) * denoised
        phi_2 = 1 + math.expm1(-k) / k
        if past:
            r_0 = past[0][0] / h
            d1 = (denoised - past[0][1]) / r_0
            if len(past) == 2:
                r_1 = past[1][0] / h
                d2 = (d1 - (past[0][1] - past[1][1]) / r_1) / (r_0 + r_1)
                d1 = d1 + r_0 * d2
                x = x - (phi_2 / k - 0.5) * d2
            x = x + phi_2 * d1
        if eta > 0:
            sigma_up = s_noise * sigma_next * math.sqrt(-math.expm1(-2 * eta * h))
            x = x + sigma_up * noise.path(x, sigma, sigma_next)
        yield Step(i, sigma_next, x, denoised)
        past = [(h, denoised), *past[:1]]
