"""Samplers that draw noise: what they end with has the mean and the variance of the data."""

import inspect
import math
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor

from helpers import MU, NoNoise, RecordedNoise, S, gaussian, grid, normal, walk
from ldm.samplers import SAMPLERS, Denoiser, Noise, Sampler
from ldm.samplers.restart import Restart

STOCHASTIC = [(s.name, {}) for s in SAMPLERS.values() if s.stochastic and s.name != "tcd"]
STOCHASTIC += [
    ("ddim", {"eta": 0.5}),
    ("dpm_fast", {"eta": 1.0}),
    ("dpm_adaptive", {"eta": 1.0, "rtol": 0.002}),
]
STOCHASTIC += [("restart", {"restarts": [Restart(0.3, 3.0, 40, 4), Restart(0.05, 0.5, 40, 2)]})]


def jump(x: Tensor, sigma: float) -> Tensor:
    """The consistency function of the Gaussian: the end of the flow from x."""
    return MU + (x - MU) * S / math.hypot(S, sigma)


@pytest.mark.parametrize(("name", "options"), STOCHASTIC)
def test_stochastic_samplers_reach_the_mean_and_the_variance(
    name: str, options: dict[str, Any]
) -> None:
    x = math.hypot(8, S) * normal(1, 1, 128, 128, dtype=torch.float64)
    denoise = jump if name == "lcm" else gaussian
    *_, (_, _, last, _) = SAMPLERS[name].run(denoise, x + MU, grid(160), Noise([1]), **options)
    count = last.numel()
    assert abs(last.mean().item() - MU) < 4 * S / count**0.5  # four standard errors
    assert (
        abs(last.var().item() / S**2 - 1) < 4 * (2 / count) ** 0.5 + 0.02
    )  # and what 160 steps leave


class Impulses(Noise):
    """Picture k of a batch hears one, the k-th, of the independent pieces of all noise; picture 0
    hears none.

    The Gaussian denoiser is linear, so for MU = 0 the sum of the squares of where they end is the
    variance, exactly. The pieces of a path are the stretches between `cuts`.
    """

    def __init__(self, cuts: list[float]) -> None:
        self.pieces, self.drawn = list(pairwise(cuts)), 0

    def __call__(self, x: Tensor) -> Tensor:
        self.drawn += 1
        return (torch.arange(len(x)) == self.drawn).to(x)[:, None, None, None]

    def path(self, x: Tensor, start: float, end: float) -> Tensor:
        shares = [
            (a - b) / (start - end) if start * 1.0001 > a and b > end * 0.9999 else 0.0
            for a, b in self.pieces
        ]
        assert sum(shares) == pytest.approx(1)
        return torch.tensor([0.0, *shares], dtype=x.dtype).sqrt()[:, None, None, None]


def variance(sampler: Sampler, denoise: Denoiser, steps: int) -> float:
    sigmas = grid(steps)
    middles = [math.sqrt(a * b) for a, b in pairwise(sigmas[:-1])]
    noise = Impulses(sorted(sigmas[:-1] + middles, reverse=True))
    x = torch.zeros(2 * steps - 1, 1, 1, 1, dtype=torch.float64)
    x[0] = math.hypot(8, S)
    *_, last = sampler.run(denoise, x, sigmas, noise)
    return last.x.square().sum().item()


@pytest.mark.parametrize(
    "name",
    [s.name for s in SAMPLERS.values() if s.stochastic and s.name not in ("restart", "lcm", "tcd")],
)
def test_the_variance_converges_with_the_same_order(name: str) -> None:
    def centred(x: Tensor, sigma: float) -> Tensor:
        return S**2 / (S**2 + sigma**2) * x

    errors = [abs(variance(SAMPLERS[name], centred, n) / S**2 - 1) for n in (150, 300)]
    assert math.log2(errors[0] / errors[1]) == pytest.approx(SAMPLERS[name].order, abs=0.15)


def test_the_variance_of_a_consistency_model_is_right_at_any_number_of_steps() -> None:
    for n in (1, 2, 4, 30):
        assert variance(
            SAMPLERS["lcm"], lambda x, sigma: x * S / math.hypot(S, sigma), n
        ) == pytest.approx(S**2)


@pytest.mark.parametrize(
    "name", [s.name for s in SAMPLERS.values() if "s_churn" in inspect.signature(s.run).parameters]
)
def test_churn_keeps_the_distribution_and_its_range(name: str) -> None:
    x = 8 * normal(1, 1, 128, 128, dtype=torch.float64) + MU
    noise, sigmas = RecordedNoise([1]), grid(600)
    last = walk(SAMPLERS[name], x, sigmas, noise, s_churn=30, s_tmin=0.05, s_tmax=5)[-1].x
    assert len(noise.given) == sum(0.05 <= s <= 5 for s in sigmas[:-1])
    assert abs(last.mean().item() - MU) < 4 * S / last.numel() ** 0.5
    assert abs(last.var().item() / S**2 - 1) < 4 * (2 / last.numel()) ** 0.5 + 0.02
    with pytest.raises(AssertionError, match="deterministic"):
        walk(SAMPLERS[name], x, sigmas, NoNoise(), s_churn=30)


NOISY: dict[str, dict[str, Any]] = {  # the options that make the others draw in a short run
    **{name: {"s_churn": 2.0} for name in ("euler", "heun", "dpm2")},
    **{name: {"eta": 1.0} for name in ("dpm_fast", "dpm_adaptive")},
    "restart": {"restarts": [Restart(1.0, 3.0, 1, 1)]},
}


@pytest.mark.parametrize(
    "name", [s.name for s in SAMPLERS.values() if "s_noise" in inspect.signature(s.run).parameters]
)
def test_s_noise_scales_the_new_noise(name: str) -> None:
    x, options = (
        torch.randn(1, 1, 8, 8, generator=torch.Generator().manual_seed(1)),
        dict(NOISY.get(name, {})),
    )
    none, one, two = [
        walk(SAMPLERS[name], x, [5.0, 3.0, 2.0, 1.0, 0.0], Noise([0]), s_noise=k, **options)[-1].x
        for k in (0.0, 1.0, 2.0)
    ]
    assert not torch.equal(one, none)
    if not SAMPLERS[name].adaptive:
        assert torch.allclose(two - one, one - none, atol=1e-5)  # the Gaussian denoiser is linear
