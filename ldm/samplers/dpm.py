"""DPM-Solver: exponential integrators that extrapolate the noise direction in log sigma. Lu et al.
2022a.

With e = (x - D) / sigma, h = log(sigma / sigma') and lambda = -log sigma, the probability flow has
the exact solution (prop. 3.1, divided by sqrt(a))

    x' = x - integral of e^-lambda e(x(lambda), lambda) from lambda to lambda + h

An e that is constant over the step gives Euler's method in sigma; `second_order_step` integrates a
line through two values of e.
"""

import math
from collections.abc import Iterator, Sequence
from itertools import count, pairwise
from typing import Any

from torch import Tensor

from .denoiser import Denoiser
from .noise import Noise
from .registry import Step, sampler
from .steps import ancestral, churn

COLUMNS: dict[str, Any] = {
    "schedule": "karras",
    "discard_next_to_last": True,
    "calls_per_step": 2,
    "schedules": {"diffusers": "uniform"},
    "starts_from_sigma": ("diffusers",),
}


@sampler(order=2, label="DPM2", **COLUMNS)
def dpm2(
    denoise: Denoiser,
    x: Tensor,
    sigmas: Sequence[float],
    noise: Noise,
    *,
    s_churn: float = 0.0,
    s_tmin: float = 0.0,
    s_tmax: float = float("inf"),
    s_noise: float = 1.0,
) -> Iterator[Step]:
    """DPM-Solver-2: the whole step with the e of its middle in log sigma. Lu et al. 2022a,
    algorithm 1.

    The s_ options are those of `churn`. The last step is Euler's, so n steps call the model 2n - 1
    times.
    """
    for i, (sigma, sigma_next) in enumerate(pairwise(sigmas)):
        x, sigma = churn(x, sigma, noise, s_churn / (len(sigmas) - 1), s_tmin, s_tmax, s_noise)
        denoised = denoise(x, sigma)
        x = midpoint_step(denoise, x, denoised, sigma, sigma_next)
        yield Step(i, sigma_next, x, denoised)


@sampler(order=2, stochastic=True, label="DPM2 a", **COLUMNS)
def dpm2_ancestral(
    denoise: Denoiser,
    x: Tensor,
    sigmas: Sequence[float],
    noise: Noise,
    *,
    eta: float = 1.0,
    s_noise: float = 1.0,
) -> Iterator[Step]:
    """DPM-Solver-2 to a level below the next, then noise up to it: the split of `ancestral`.
    k-diffusion."""
    for i, (sigma, sigma_next) in enumerate(pairwise(sigmas)):
        denoised = denoise(x, sigma)
        sigma_down, sigma_up = ancestral(sigma, sigma_next, eta)
        x = midpoint_step(denoise, x, denoised, sigma, sigma_down)
        if sigma_up > 0:
            x = x + s_noise * sigma_up * noise(x)
        yield Step(i, sigma_next, x, denoised)


@sampler(order=2, own_levels=True, label="DPM fast")
def dpm_fast(
    denoise: Denoiser,
    x: Tensor,
    sigmas: Sequence[float],
    noise: Noise,
    *,
    eta: float = 0.0,
    s_noise: float = 1.0,
) -> Iterator[Step]:
    """DPM-Solver-fast: as many steps of order 3 as the model calls allow, then one or two lower
    ones.

    Lu et al. 2022a, sec. 3.4 and algorithm 2. Of sigmas it takes the ends and the number: its
    levels are evenly spaced in log sigma from sigmas[0] to sigmas[-2]; from there one Euler step
    leads to 0. Each model call yields a Step.
    """
    index, last, calls = count(), sigmas[-2], len(sigmas) - 2
    thirds, rest = divmod(calls, 3)
    orders = [3] * thirds + [rest] if rest else [3] * (thirds - 1) + [2, 1][:calls]
    for k, order in enumerate(orders):
        sigma, sigma_next = (
            max(last, sigmas[0] * (last / sigmas[0]) ** (j / len(orders))) for j in (k, k + 1)
        )
        sigma_down, sigma_up = ancestral_above(last, sigma, sigma_next, eta)
        for level, x_next, denoised in stages(denoise, x, sigma, sigma_down, order):
            if level > sigma_down:
                yield Step(next(index), level, x_next, denoised)
        x = x_next if sigma_up == 0 else x_next + s_noise * sigma_up * noise(x)
        yield Step(next(index), sigma_next, x, denoised)
    denoised = denoise(x, last)
    yield Step(next(index), 0.0, denoised, denoised)


@sampler(order=3, own_levels=True, adaptive=True, label="DPM adaptive")
def dpm_adaptive(
    denoise: Denoiser,
    x: Tensor,
    sigmas: Sequence[float],
    noise: Noise,
    *,
    rtol: float = 0.05,
    atol: float = 0.0078,
    eta: float = 0.0,
    s_noise: float = 1.0,
) -> Iterator[Step]:
    """DPM-Solver-23, steps of order 2 and 3 side by side: their difference, in units of the
    tolerance  max(atol, rtol |x|),  decides whether a step is taken and how long the next one is.

    Lu et al. 2022a, app. C.4; the rule for the length is k-diffusion's: h grows by
    f = 1 + arctan(error^(-1/p) - 1),  p = 3 (1.5 where noise is added), and a step with f < 0.81 is
    tried again, shorter.

    Only sigmas[0] and sigmas[-2] are used; from there one Euler step leads to 0. The error of a
    picture decides its levels, so it takes one picture at a time: a batch of more is a ValueError.
    """
    if len(x) != 1:
        raise ValueError(
            f"dpm_adaptive got a batch of {len(x)}: each picture has steps of its own, "
            "so give it one by one"
        )
    index, sigma, last = count(), sigmas[0], sigmas[-2]
    p = 3 if eta == 0 else 1.5
    low_last, h = x, 0.05
    while sigma > last * (1 + 1e-5):
        sigma_next = max(last, sigma * math.exp(-h))
        sigma_down, sigma_up = ancestral_above(last, sigma, sigma_next, eta)
        denoised = denoise(x, sigma)
        low, high = orders_2_and_3(denoise, x, denoised, sigma, sigma_down)
        tolerance = (rtol * low.abs().maximum(low_last.abs())).clamp(min=atol)
        error = ((low - high) / tolerance).square().mean().sqrt().item()
        factor = 1 + math.atan((error + 1e-8) ** (-1 / p) - 1)
        h *= factor
        if factor >= 0.81:
            low_last, sigma = low, sigma_next
            x = high if sigma_up == 0 else high + s_noise * sigma_up * noise(x)
            yield Step(next(index), sigma, x, denoised)
    denoised = denoise(x, last)
    yield Step(next(index), 0.0, denoised, denoised)


def midpoint_step(
    denoise: Denoiser, x: Tensor, denoised: Tensor, sigma: float, sigma_next: float
) -> Tensor:
    """DPM-Solver-2's step, given D at its start: Euler's to the middle, then the whole with the e
    found there."""
    if sigma_next == 0:
        return denoised
    sigma_mid = math.sqrt(sigma * sigma_next)
    x_mid = x + (sigma_mid - sigma) * (x - denoised) / sigma
    return x + (sigma_next - sigma) * (x_mid - denoise(x_mid, sigma_mid)) / sigma_mid


def orders_2_and_3(
    denoise: Denoiser, x: Tensor, denoised: Tensor, sigma: float, sigma_next: float
) -> tuple[Tensor, Tensor]:
    """The step of DPM-Solver-2 (r = 1/3) and of DPM-Solver-3, given D at their start; two model
    calls for both."""
    third, two_thirds = (sigma * (sigma_next / sigma) ** (k / 3) for k in (1, 2))
    e = (x - denoised) / sigma
    x_mid = x + (third - sigma) * e
    e_third = (x_mid - denoise(x_mid, third)) / third
    low = x + (sigma_next - sigma) * (e + 1.5 * (e_third - e))
    x_mid = second_order_step(x, e, e_third, 1 / 2, sigma, two_thirds)
    e_two_thirds = (x_mid - denoise(x_mid, two_thirds)) / two_thirds
    return low, second_order_step(x, e, e_two_thirds, 2 / 3, sigma, sigma_next)


def stages(
    denoise: Denoiser, x: Tensor, sigma: float, sigma_next: float, order: int
) -> Iterator[tuple[float, Tensor, Tensor]]:
    """A step of DPM-Solver-1, -2 or -3: after each model call the level it leads to, x there, and
    D.

    Lu et al. 2022a, algorithms 1 (r = 1/2) and 2 (r = 1/3, 2/3), and sec. 3.2.
    """
    levels = [sigma * (sigma_next / sigma) ** (k / order) for k in range(1, order)] + [sigma_next]
    denoised = denoise(x, sigma)
    e = (x - denoised) / sigma
    x_mid = x + (levels[0] - sigma) * e
    yield levels[0], x_mid, denoised
    if order == 2:
        denoised = denoise(x_mid, levels[0])
        yield sigma_next, x + (sigma_next - sigma) * (x_mid - denoised) / levels[0], denoised
    if order == 3:
        for r, level, level_next in ((1 / 2, levels[0], levels[1]), (2 / 3, levels[1], levels[2])):
            denoised = denoise(x_mid, level)
            e_r = (x_mid - denoised) / level
            x_mid = second_order_step(x, e, e_r, r, sigma, level_next)
            yield level_next, x_mid, denoised


def second_order_step(
    x: Tensor, e: Tensor, e_r: Tensor, r: float, sigma: float, sigma_next: float
) -> Tensor:
    """The exact step along the line through e at sigma and e_r at the fraction r of the way to
    sigma_next, in log sigma."""
    h = math.log(sigma / sigma_next)
    return x + (sigma_next - sigma) * e - sigma_next * (math.expm1(h) / h - 1) / r * (e_r - e)


def ancestral_above(
    last: float, sigma: float, sigma_next: float, eta: float
) -> tuple[float, float]:
    """The split of `ancestral`, going down no further than `last`."""
    sigma_down = max(last, ancestral(sigma, sigma_next, eta)[0])
    return sigma_down, math.sqrt(max(sigma_next**2 - sigma_down**2, 0.0)) if eta > 0 else 0.0
