"""UniPC: a predictor and a corrector of any order that share their model calls. Zhao et al. 2023."""

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Literal

import numpy as np
from torch import Tensor

from .denoiser import Denoiser
from .noise import Noise
from .registry import Step, sampler

Known = tuple[float, Tensor]  # a level and D there


@sampler(order=3, label="UniPC", schedule="leading")
def unipc(
    denoise: Denoiser,
    x: Tensor,
    sigmas: Sequence[float],
    noise: Noise,
    *,
    order: int = 3,
    variant: Literal["bh1", "bh2"] = "bh1",
) -> Iterator[Step]:
    """UniPC-p, predicting D, with B(h) = h ("bh1") or 1 - e^-h ("bh2"). Zhao et al. 2023, algorithms 5 and 6.

    The predictor goes to the next level with the D known so far. The D found there is used twice: to correct the step
    that led to it (one order better), and for the next prediction. The first and the last steps are of lower order.
    One model call a step; a Step's x is the prediction, corrected only as the start of the next.
    """
    if variant not in ("bh1", "bh2"):
        raise ValueError(f"variant {variant!r} is unknown: choose 'bh1' or 'bh2'")
    past: list[Known] = []
    before, p = x, 0
    for i, (sigma, target) in enumerate(pairwise(sigmas)):
        denoised = denoise(x, sigma)
        if past:
            x = _advance(before, past[:p], sigma, [(sigma, denoised)], variant)
        past = [(sigma, denoised), *past[: order - 1]]
        p = min(len(past), len(sigmas) - 1 - i)
        before = x
        x = _advance(before, past[:p], target, [], variant)
        yield Step(i, target, x, denoised)


@sampler(order=3, label="UniPC bh2", schedule="leading")
def unipc_bh2(denoise: Denoiser, x: Tensor, sigmas: Sequence[float], noise: Noise, *, order: int = 3) -> Iterator[Step]:
    """`unipc` with B(h) = 1 - e^-h, which its authors prefer for few steps."""
    return unipc(denoise, x, sigmas, noise, order=order, variant="bh2")


def _advance(x: Tensor, past: Sequence[Known], target: float, there: Sequence[Known], variant: str) -> Tensor:
    """The step from x at past[0] to target; a correction if D `there` is known, a prediction if not. Eq. 3 and 9:

    x' = sigma'/sigma x + (1 - e^-h) D_0 + B(h) * sum of rho_j (D_j - D_0) / r_j,   r_j = log(sigma / sigma_j) / h
    """
    sigma, d_0 = past[0]
    if target == 0:
        return d_0
    h = math.log(sigma / target)
    x = target / sigma * x - math.expm1(-h) * d_0
    others = [*past[1:], *there]
    r = [math.log(sigma / level) / h for level, _ in others]
    b = h if variant == "bh1" else -math.expm1(-h)
    for rho, r_j, (_, d_j) in zip(_weights(r, h, b), r, others, strict=True):
        x = x + b * rho / r_j * (d_j - d_0)
    return x


def _weights(r: list[float], h: float, b: float) -> list[float]:
    """rho that solves  sum of rho_j r_j^(k-1) = k! h phi_(k+1)(h) / B(h)  for every k. Theorem 3.1 and eq. 5.

    phi_1 = (1 - e^-h) / h,  phi_(k+1) = (1/k! - phi_k) / h. A single rho is 1/2: exact enough for its order.
    """
    if len(r) == 1:
        return [0.5]
    phi, right = -math.expm1(-h) / h, []
    for k in range(1, len(r) + 1):
        phi = (1 / math.factorial(k) - phi) / h
        right.append(math.factorial(k) * h * phi / b)
    return [float(rho) for rho in np.linalg.solve(np.vander(r, increasing=True).T, right)]
