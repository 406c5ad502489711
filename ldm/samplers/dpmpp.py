"""DPM-Solver++: exponential integrators that extrapolate the denoised latent in log sigma.

With lambda = -log sigma (the log of the signal to noise ratio, halved) the probability flow has the exact solution

    x' = sigma'/sigma x + sigma' * integral of e^lambda D(x(lambda), lambda) from lambda to lambda'

(Lu et al. 2022b, "DPM-Solver++", eq. 9, in x = x_t / sqrt(a)). A D that is constant over the step gives
x' = D + sigma'/sigma (x - D), with weight 1 - sigma'/sigma = 1 - e^-h = -expm1(-h) on D; the methods differ in how they
do better. The step to sigma = 0 has h = inf and ends in D itself.
"""

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Literal

from torch import Tensor

from .denoiser import Denoiser
from .euler import ancestral
from .noise import Noise
from .registry import Step, sampler


@sampler(order=2, stochastic=True, label="DPM++ 2S a", schedule="karras")
def dpmpp_2s_ancestral(
    denoise: Denoiser,
    x: Tensor,
    sigmas: Sequence[float],
    noise: Noise,
    *,
    eta: float = 1.0,
    s_noise: float = 1.0,
) -> Iterator[Step]:
    """DPM-Solver++(2S) to a level below the target, then noise up to it (`ancestral`). Lu et al. 2022b, algorithm 1.

    The whole step takes the D of its middle in log sigma; the last is of order 1. n steps call the model 2n - 1 times.
    """
    for i, (sigma, target) in enumerate(pairwise(sigmas)):
        denoised = better = denoise(x, sigma)
        down, up = ancestral(sigma, target, eta)
        if down > 0:
            middle = (sigma * down) ** 0.5
            better = denoise(denoised + middle / sigma * (x - denoised), middle)
        x = better + down / sigma * (x - better)
        if up > 0:
            x = x + s_noise * up * noise(x)
        yield Step(i, target, x, denoised)


@sampler(order=2, label="DPM++ 2M", schedule="karras")
def dpmpp_2m(denoise: Denoiser, x: Tensor, sigmas: Sequence[float], noise: Noise) -> Iterator[Step]:
    """DPM-Solver++(2M): D at the middle of the step, on the line through the last two. Lu et al. 2022b, algorithm 2.

    One model call a step. The first step and the last are of order 1.
    """
    last, h_last = None, 0.0
    for i, (sigma, target) in enumerate(pairwise(sigmas)):
        denoised = denoise(x, sigma)
        h = log_ratio(sigma, target)
        middle = denoised
        if last is not None and target > 0:
            middle = denoised + h / (2 * h_last) * (denoised - last)
        x = target / sigma * x - math.expm1(-h) * middle
        yield Step(i, target, x, denoised)
        last, h_last = denoised, h


@sampler(order=2, stochastic=True, label="DPM++ SDE", schedule="karras")
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
    """DPM-Solver++ (2S) with noise: a trial step to the point r of the way in log sigma, then the whole step with the
    D found there; each goes down without noise and up with it (`ancestral`). Lu et al. 2022b, algorithm 1 and
    sec. 6; as a stochastic method: Crowson's k-diffusion, `sample_dpmpp_sde`.

    The noise of the trial and of the step are increments of one Brownian path. n steps call the model 2n - 1 times.
    """
    for i, (sigma, target) in enumerate(pairwise(sigmas)):
        denoised = denoise(x, sigma)
        if target == 0:
            yield Step(i, target, denoised, denoised)
            return
        trial = sigma * (target / sigma) ** r
        down, up = ancestral(sigma, trial, eta)
        there = denoised + down / sigma * (x - denoised)
        if up > 0:
            there = there + s_noise * up * noise.path(x, sigma, trial)
        better = denoised + (denoise(there, trial) - denoised) / (2 * r)
        down, up = ancestral(sigma, target, eta)
        x = better + down / sigma * (x - better)
        if up > 0:
            x = x + s_noise * up * noise.path(x, sigma, target)
        yield Step(i, target, x, denoised)


@sampler(order=2, stochastic=True, label="DPM++ 2M SDE", schedule="exponential")
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
    """SDE-DPM-Solver++(2M): the multistep method on the reverse diffusion equation. Lu et al. 2022b, sec. 6, eq. 18.

    The noise stretches the step in lambda to k = (1 + eta) h, and eta h of it is put back as variance:

        x' = e^-k x + (1 - e^-k) D + slope term + sigma' sqrt(1 - e^(-2 eta h)) z

    The slope term is  (1 - e^-k) / 2 (D - last) h / h_last  for the midpoint rule and, for "heun", the exact integral
    of the line through both,  (1 - (1 - e^-k) / k) (D - last) h / h_last.  One model call a step.
    """
    if solver_type not in ("midpoint", "heun"):
        raise ValueError(f"solver_type {solver_type!r} is unknown: choose 'midpoint' or 'heun'")
    last, h_last = None, 0.0
    for i, (sigma, target) in enumerate(pairwise(sigmas)):
        denoised = denoise(x, sigma)
        if target == 0:
            yield Step(i, target, denoised, denoised)
            return
        h = log_ratio(sigma, target)
        k = (1 + eta) * h
        whole = -math.expm1(-k)
        x = math.exp(-k) * x + whole * denoised
        if last is not None:
            weight = whole / 2 if solver_type == "midpoint" else 1 - whole / k
            x = x + weight * h / h_last * (denoised - last)
        if eta > 0:
            x = x + s_noise * target * math.sqrt(-math.expm1(-2 * eta * h)) * noise.path(x, sigma, target)
        yield Step(i, target, x, denoised)
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


@sampler(order=2, stochastic=True, label="DPM++ 3M SDE", schedule="exponential", discard=True)
def dpmpp_3m_sde(
    denoise: Denoiser,
    x: Tensor,
    sigmas: Sequence[float],
    noise: Noise,
    *,
    eta: float = 1.0,
    s_noise: float = 1.0,
) -> Iterator[Step]:
    """As `dpmpp_2m_sde` with the parabola through the last three D, Crowson's k-diffusion, `sample_dpmpp_3m_sde`:

        x' = e^-k x + (1 - e^-k) D + phi_2 D' - phi_3 D'' + sigma' sqrt(1 - e^(-2 eta h)) z

    k = (1 + eta) h; D' and D'' are the derivatives of the parabola in units of h, weighted by
    phi_2 = 1 - (1 - e^-k) / k  and  phi_3 = phi_2 / k - 1/2.
    The first two steps are of order 1 and 2 for want of a history, which leaves the whole of order 2.
    """
    past: list[tuple[float, Tensor]] = []  # h of the step that D was made for, D; newest first
    for i, (sigma, target) in enumerate(pairwise(sigmas)):
        denoised = denoise(x, sigma)
        if target == 0:
            yield Step(i, target, denoised, denoised)
            return
        h = log_ratio(sigma, target)
        k = (1 + eta) * h
        x = math.exp(-k) * x - math.expm1(-k) * denoised
        phi_2 = 1 + math.expm1(-k) / k
        if past:
            r_0 = past[0][0] / h
            slope = (denoised - past[0][1]) / r_0
            if len(past) == 2:
                r_1 = past[1][0] / h
                bend = (slope - (past[0][1] - past[1][1]) / r_1) / (r_0 + r_1)
                slope = slope + r_0 * bend
                x = x - (phi_2 / k - 0.5) * bend
            x = x + phi_2 * slope
        if eta > 0:
            x = x + s_noise * target * math.sqrt(-math.expm1(-2 * eta * h)) * noise.path(x, sigma, target)
        yield Step(i, target, x, denoised)
        past = [(h, denoised), *past[:1]]


def log_ratio(sigma: float, target: float) -> float:
    """h = lambda' - lambda = log(sigma / target), infinite for a step to 0."""
    return math.log(sigma / target) if target > 0 else math.inf
