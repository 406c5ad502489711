"""UniPC: a predictor and a corrector of any order that share their model calls. Zhao et al.
2023."""

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any, Literal

import numpy as np
from torch import Tensor

from .denoiser import Denoiser
from .noise import Noise
from .registry import Step, sampler

Known = tuple[float, Tensor]  # a level and D there
COLUMNS: dict[str, Any] = {
    "schedule": "leading",
    "in_training_steps": True,
    "schedules": {"a1111": "ddim_clipped", "diffusers": "sgm_linspace"},
    "discards": {"comfyui": True},
}


@sampler(order=3, label="UniPC", **COLUMNS)
def unipc(
    denoise: Denoiser,
    x: Tensor,
    sigmas: Sequence[float],
    noise: Noise,
    *,
    order: int = 3,
    variant: Literal["bh1", "bh2"] = "bh1",
) -> Iterator[Step]:
    """UniPC-p, predicting D, with B(h) = h ("bh1") or 1 - e^-h ("bh2"). Zhao et al. 2023.

    The predictor goes to the next level with the D known so far. The D found there is used twice:
    to correct the step that led to it (one order better), and for the next prediction. The first
    and the last steps are of lower order. One model call a step; a Step's x is the prediction,
    corrected only as the start of the next.
    """
    if variant not in ("bh1", "bh2"):
        raise ValueError(f"variant {variant!r} is unknown: choose 'bh1' or 'bh2'")
    past: list[Known] = []
    x_last, p = x, 0
    for i, (sigma, sigma_next) in enumerate(pairwise(sigmas)):
        denoised = denoise(x, sigma)
        if past:
            x = _advance(x_last, past[:p], sigma, [(sigma, denoised)], variant)
        past = [(sigma, denoised), *past[: order - 1]]
        p = min(len(past), len(sigmas) - 1 - i)
        x_last = x
        x = _advance(x_last, past[:p], sigma_next, [], variant)
        yield Step(i, sigma_next, x, denoised)


@sampler(order=3, label="UniPC bh2", **COLUMNS)
def unipc_bh2(
    denoise: Denoiser, x: Tensor, sigmas: Sequence[float], noise: Noise, *, order: int = 3
) -> Iterator[Step]:
    """`unipc` with B(h) = 1 - e^-h, which its authors prefer for few steps."""
    return unipc(denoise, x, sigmas, noise, order=order, variant="bh2")


def _advance(
    x: Tensor, past: Sequence[Known], sigma_next: float, found: Sequence[Known], variant: str
) -> Tensor:
    """The step from x at past[0] to sigma_next: a correction if D has been found there, else a
    prediction.

    x' = sigma'/sigma x + (1 - e^-h) D_0 + B(h) * sum of rho_j (D_j - D_0) / r_j
    r_j = log(sigma / sigma_j) / h
    """
    sigma, d_0 = past[0]
    if sigma_next == 0:
        return d_0
    h = math.log(sigma / sigma_next)
    x = sigma_next / sigma * x - math.expm1(-h) * d_0
    others = [*past[1:], *found]
    r = [math.log(sigma / level) / h for level, _ in others]
    b = h if variant == "bh1" else -math.expm1(-h)
    for rho, r_j, (_, d_j) in zip(_weights(r, h, b), r, others, strict=True):
        x = x + b * rho / r_j * (d_j - d_0)
    return x


def _weights(r: list[float], h: float, b: float) -> list[float]:
    """rho that solves  sum of rho_j r_j^(k-1) = k! h phi_(k+1)(h) / B(h)  for every k. Zhao et al.
    2023, theorem 3.1.

    phi_1 = (1 - e^-h) / h,  phi_(k+1) = (1/k! - phi_k) / h. A single rho is 1/2: exact enough for
    its order.
    """
    if len(r) == 1:
        return [0.5]
    phi, right = -math.expm1(-h) / h, []
    for k in range(1, len(r) + 1):
        phi = (1 / math.factorial(k) - phi) / h
        right.append(math.factorial(k) * h * phi / b)
    return [float(rho) for rho in np.linalg.solve(np.vander(r, increasing=True).T, right)]
