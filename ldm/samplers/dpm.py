"""DPM-Solver: exponential integrators that extrapolate the noise direction in log sigma. Lu et al. 2022a.

With e = (x - D) / sigma, h = log(sigma / sigma') and lambda = -log sigma, the probability flow has the exact solution
(prop. 3.1, divided by sqrt(a))

    x' = x - integral of e^-lambda e(x(lambda), lambda) from lambda to lambda + h

An e that is constant over the step gives Euler's method in sigma; `_bend` integrates a line through two values of e.
"""

import math
from collections.abc import Iterator, Sequence
from itertools import count, pairwise

from torch import Tensor

from .denoiser import Denoiser
from .euler import ancestral, churn
from .noise import Noise
from .registry import Step, sampler


@sampler(order=2, label="DPM2", schedule="karras", discard=True)
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
    """DPM-Solver-2: the whole step with the e of its middle in log sigma. Lu et al. 2022a, algorithm 1.

    The s_ options are those of `churn`. The last step is Euler's, so n steps call the model 2n - 1 times.
    """
    for i, (sigma, target) in enumerate(pairwise(sigmas)):
        if s_tmin <= sigma <= s_tmax:
            x, sigma = churn(x, sigma, s_churn / (len(sigmas) - 1), s_noise, noise)
        denoised = denoise(x, sigma)
        x = _midpoint(denoise, x, denoised, sigma, target)
        yield Step(i, target, x, denoised)


@sampler(order=2, stochastic=True, label="DPM2 a", schedule="karras", discard=True)
def dpm2_ancestral(
    denoise: Denoiser,
    x: Tensor,
    sigmas: Sequence[float],
    noise: Noise,
    *,
    eta: float = 1.0,
    s_noise: float = 1.0,
) -> Iterator[Step]:
    """DPM-Solver-2 to a level below the target, then noise up to it: the split of `ancestral`. k-diffusion."""
    for i, (sigma, target) in enumerate(pairwise(sigmas)):
        denoised = denoise(x, sigma)
        down, up = ancestral(sigma, target, eta)
        x = _midpoint(denoise, x, denoised, sigma, down)
        if up > 0:
            x = x + s_noise * up * noise(x)
        yield Step(i, target, x, denoised)


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
    """DPM-Solver-fast: as many steps of order 3 as the model calls allow, then one or two lower ones.

    Lu et al. 2022a, sec. 3.4 and algorithm 2. Of sigmas it takes the ends and the number: its levels are evenly spaced
    in log sigma from sigmas[0] to sigmas[-2]; from there one Euler step leads to 0. Each model call yields a Step.
    """
    index, last, calls = count(), sigmas[-2], len(sigmas) - 2
    thirds, rest = divmod(calls, 3)
    orders = [3] * thirds + [rest] if rest else [3] * (thirds - 1) + [2, 1][:calls]
    for k, order in enumerate(orders):
        sigma, target = (max(last, sigmas[0] * (last / sigmas[0]) ** (j / len(orders))) for j in (k, k + 1))
        down, up = _ancestral_above(last, sigma, target, eta)
        for level, there, denoised in _stages(denoise, x, sigma, down, order):
            if level > down:
                yield Step(next(index), level, there, denoised)
        x = there if up == 0 else there + s_noise * up * noise(x)
        yield Step(next(index), target, x, denoised)
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
    """DPM-Solver-23, steps of order 2 and 3 side by side: their difference, in units of the tolerance

        max(atol, rtol |x|)

    decides whether a step is taken and how long the next one is. Lu et al. 2022a, app. C.4; the rule for the length is
    k-diffusion's: h grows by  f = 1 + arctan(error^(-1/p) - 1),  p = 3 (1.5 where noise is added), and a step with
    f < 0.81 is tried again, shorter.

    Only sigmas[0] and sigmas[-2] are used; from there one Euler step leads to 0. The error of a picture decides its
    levels, so it takes one picture at a time: a batch of more is a ValueError.
    """
    if len(x) != 1:
        raise ValueError(
            f"dpm_adaptive got a batch of {len(x)}: each picture has steps of its own, so give it one by one"
        )
    index, sigma, last = count(), sigmas[0], sigmas[-2]
    order = 3 if eta == 0 else 1.5
    before, h = x, 0.05
    while sigma > last * (1 + 1e-5):
        target = max(last, sigma * math.exp(-h))
        down, up = _ancestral_above(last, sigma, target, eta)
        third, two_thirds = sigma * (down / sigma) ** (1 / 3), sigma * (down / sigma) ** (2 / 3)
        denoised = denoise(x, sigma)
        e = (x - denoised) / sigma
        u = x + (third - sigma) * e
        e_third = (u - denoise(u, third)) / third
        low = x + (down - sigma) * (e + 1.5 * (e_third - e))
        u = _bend(x, e, e_third, 1 / 2, sigma, two_thirds)
        high = _bend(x, e, (u - denoise(u, two_thirds)) / two_thirds, 2 / 3, sigma, down)
        tolerance = (rtol * low.abs().maximum(before.abs())).clamp(min=atol)
        error = ((low - high) / tolerance).square().mean().sqrt().item()
        factor = 1 + math.atan((error + 1e-8) ** (-1 / order) - 1)
        h *= factor
        if factor >= 0.81:
            before, sigma = low, target
            x = high if up == 0 else high + s_noise * up * noise(x)
            yield Step(next(index), sigma, x, denoised)
    denoised = denoise(x, last)
    yield Step(next(index), 0.0, denoised, denoised)


def _midpoint(denoise: Denoiser, x: Tensor, denoised: Tensor, sigma: float, target: float) -> Tensor:
    """DPM-Solver-2's step, given D at its start: Euler's to the middle, then the whole with the e found there."""
    if target == 0:
        return denoised
    middle = math.sqrt(sigma * target)
    u = x + (middle - sigma) * (x - denoised) / sigma
    return x + (target - sigma) * (u - denoise(u, middle)) / middle


def _stages(
    denoise: Denoiser, x: Tensor, sigma: float, target: float, order: int
) -> Iterator[tuple[float, Tensor, Tensor]]:
    """A step of DPM-Solver-1, -2 or -3: after each model call the level it leads to, x there, and D.

    Lu et al. 2022a, algorithms 1 (r = 1/2) and 2 (r = 1/3, 2/3), and sec. 3.2.
    """
    levels = [sigma * (target / sigma) ** (k / order) for k in range(1, order)] + [target]
    denoised = denoise(x, sigma)
    e = (x - denoised) / sigma
    u = x + (levels[0] - sigma) * e
    yield levels[0], u, denoised
    if order == 2:
        denoised = denoise(u, levels[0])
        yield target, x + (target - sigma) * (u - denoised) / levels[0], denoised
    if order == 3:
        denoised = denoise(u, levels[0])
        u = _bend(x, e, (u - denoised) / levels[0], 1 / 2, sigma, levels[1])
        yield levels[1], u, denoised
        denoised = denoise(u, levels[1])
        yield target, _bend(x, e, (u - denoised) / levels[1], 2 / 3, sigma, target), denoised


def _bend(x: Tensor, e: Tensor, e_r: Tensor, r: float, sigma: float, target: float) -> Tensor:
    """The exact step along the line through e at sigma and e_r at the part r of the way to target, in log sigma."""
    h = math.log(sigma / target)
    return x + (target - sigma) * e - target * (math.expm1(h) / h - 1) / r * (e_r - e)


def _ancestral_above(last: float, sigma: float, target: float, eta: float) -> tuple[float, float]:
    """The split of `ancestral`, going down no further than `last`."""
    down = max(last, ancestral(sigma, target, eta)[0])
    return down, math.sqrt(max(target**2 - down**2, 0.0)) if eta > 0 else 0.0
