"""Every sampler of the table against closed-form answers: for Gaussian data N(MU, S^2) the exact denoiser is

    D(x, sigma) = MU + S^2 / (S^2 + sigma^2) (x - MU)

and the probability flow leads x at sigma to  MU + (x - MU) S / sqrt(S^2 + sigma^2)  at 0.
"""

import inspect
import math
from typing import Any

import pytest
import torch
from torch import Tensor

from ldm.samplers import SAMPLERS, Noise, Sampler, Step

MU, S = 0.7, 1.0
ALL = pytest.mark.parametrize("sampler", SAMPLERS.values(), ids=lambda s: s.name)


def gaussian(x: Tensor, sigma: float) -> Tensor:
    return MU + S**2 / (S**2 + sigma**2) * (x - MU)


def nonlinear(x: Tensor, sigma: float) -> Tensor:
    """Some smooth denoiser of each picture as a whole."""
    return torch.tanh(x / (1 + sigma**2) + 0.3 * x.mean((1, 2, 3), keepdim=True).sin())


def grid(steps: int, top: float = 8.0) -> list[float]:
    return [top * (1 - i / steps) ** 3 for i in range(steps + 1)]


class NoNoise(Noise):
    """For runs that must not draw."""

    def __init__(self) -> None:
        super().__init__([])

    def _check(self, x: Tensor) -> None:
        raise AssertionError("a deterministic run asked for noise")


class Recorded(Noise):
    """Noise that keeps what it gave."""

    def __init__(self, seeds: list[int]) -> None:
        super().__init__(seeds)
        self.given: list[Tensor] = []

    def __call__(self, x: Tensor) -> Tensor:
        self.given.append(super().__call__(x))
        return self.given[-1]

    def path(self, x: Tensor, start: float, end: float) -> Tensor:
        self.given.append(super().path(x, start, end))
        return self.given[-1]


def run(sampler: Sampler, x: Tensor, sigmas: list[float], noise: Noise, **options: Any) -> list[Step]:
    return list(sampler.run(gaussian, x, sigmas, noise, **options))


def quiet(sampler: Sampler) -> dict[str, float]:
    """The options that switch a sampler's randomness off."""
    return {"eta": 0.0} if sampler.stochastic else {}


@ALL
def test_the_error_falls_with_the_order_of_the_method(sampler: Sampler) -> None:
    x = MU + 8 * torch.randn(1, 1, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    exact = MU + (x - MU) * S / math.hypot(S, 8.0)
    errors = [
        (run(sampler, x, grid(n), NoNoise(), **quiet(sampler))[-1].x - exact).abs().max().item() for n in (96, 192)
    ]
    assert errors[0] > 1e-10  # far from rounding
    assert math.log2(errors[0] / errors[1]) == pytest.approx(sampler.order, abs=0.15)


@pytest.mark.parametrize("name", [s.name for s in SAMPLERS.values() if s.stochastic])
def test_stochastic_samplers_reach_the_mean_and_the_variance(name: str) -> None:
    x = 8 * torch.randn(1, 1, 128, 128, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) + MU
    last = run(SAMPLERS[name], x, grid(160), Noise([1]))[-1].x
    count = last.numel()
    assert abs(last.mean().item() - MU) < 4 * S / count**0.5  # four standard errors
    assert abs(last.var().item() / S**2 - 1) < 4 * (2 / count) ** 0.5 + 0.02  # and what 160 steps leave


@ALL
def test_steps_count_the_intervals_and_end_clean(sampler: Sampler) -> None:
    for sigmas in (grid(5), grid(12), grid(7)[3:], [0.4, 0.0], [14.6, 0.0]):  # whole lists, a tail, a single step
        x = torch.randn(2, 4, 3, 5, generator=torch.Generator().manual_seed(0))
        steps = run(sampler, x, sigmas, Noise([0, 1]))
        assert [s.index for s in steps] == list(range(len(sigmas) - 1))
        assert [s.sigma for s in steps] == sigmas[1:]
        assert all(s.x.shape == s.denoised.shape == x.shape for s in steps)
        assert steps[-1].x.isfinite().all()


@ALL
def test_a_single_step_is_the_denoiser(sampler: Sampler) -> None:
    x = torch.randn(1, 4, 3, 5, dtype=torch.float64)
    (step,) = run(sampler, x, [3.0, 0.0], Noise([0]))
    assert torch.allclose(step.x, gaussian(x, 3.0), atol=1e-12)


@ALL
def test_running_changes_neither_x_nor_the_global_generator(sampler: Sampler) -> None:
    x, sigmas = torch.randn(1, 4, 4, 4), grid(6)
    before = x.clone(), list(sigmas), torch.random.get_rng_state()
    first = run(sampler, x, sigmas, Noise([0]))
    kept = [s.x.clone() for s in first]
    assert torch.equal(x, before[0])
    assert sigmas == before[1]
    assert torch.equal(torch.random.get_rng_state(), before[2])
    again = run(sampler, x, sigmas, Noise([0]))
    assert all(torch.equal(a, b.x) and torch.equal(b.x, c.x) for a, b, c in zip(kept, first, again))


@ALL
def test_deterministic_samplers_draw_nothing(sampler: Sampler) -> None:
    noise = Recorded([0])
    run(sampler, torch.randn(1, 1, 4, 4), grid(6), noise)
    assert bool(noise.given) == sampler.stochastic


@ALL
def test_a_picture_does_not_depend_on_its_batch(sampler: Sampler) -> None:
    together, alone = Recorded([10, 11, 12, 13]), Recorded([12])
    steps, single = [
        list(sampler.run(nonlinear, 8 * noise(torch.empty(len(noise.seeds), 4, 8, 8)), grid(10), noise))
        for noise in (together, alone)
    ]
    assert len(together.given) == len(alone.given)
    assert all(torch.equal(a[2], b[0]) for a, b in zip(together.given, alone.given))
    assert all(torch.allclose(a.x[2], b.x[0], atol=1e-5, rtol=0) for a, b in zip(steps, single))


@ALL
def test_a_sampler_keeps_the_dtype_of_x(sampler: Sampler) -> None:
    for dtype in (torch.float16, torch.bfloat16, torch.float64):
        steps = run(sampler, torch.ones(1, 1, 2, 2, dtype=dtype), grid(4), Noise([0]))
        assert {s.x.dtype for s in steps} == {dtype}


def test_ddim_without_eta_is_euler_and_with_eta_1_ancestral() -> None:
    x = torch.randn(1, 4, 4, 4, dtype=torch.float64)
    for name, eta in (("euler", 0.0), ("euler_ancestral", 1.0)):
        ours = run(SAMPLERS["ddim"], x, grid(9), Noise([0]), eta=eta)
        theirs = run(SAMPLERS[name], x, grid(9), Noise([0]))
        assert all(torch.allclose(a.x, b.x, atol=1e-12) for a, b in zip(ours, theirs))


@pytest.mark.parametrize(
    "name", [s.name for s in SAMPLERS.values() if "s_churn" in inspect.signature(s.run).parameters]
)
def test_churn_keeps_the_distribution_and_its_range(name: str) -> None:
    x = 8 * torch.randn(1, 1, 128, 128, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) + MU
    noise, sigmas = Recorded([1]), grid(600)
    last = run(SAMPLERS[name], x, sigmas, noise, s_churn=30, s_tmin=0.05, s_tmax=5)[-1].x
    assert len(noise.given) == sum(0.05 <= s <= 5 for s in sigmas[:-1])
    assert abs(last.mean().item() - MU) < 4 * S / last.numel() ** 0.5
    assert abs(last.var().item() / S**2 - 1) < 4 * (2 / last.numel()) ** 0.5 + 0.02
    with pytest.raises(AssertionError, match="deterministic"):
        run(SAMPLERS[name], x, sigmas, NoNoise(), s_churn=30)


@pytest.mark.parametrize(
    "name", [s.name for s in SAMPLERS.values() if "s_noise" in inspect.signature(s.run).parameters]
)
def test_s_noise_scales_the_new_noise(name: str) -> None:
    x, options = torch.randn(1, 1, 8, 8), {} if SAMPLERS[name].stochastic else {"s_churn": 20.0}
    none, one, two = [
        run(SAMPLERS[name], x, [5.0, 2.0, 0.0], Noise([0]), s_noise=k, **options)[0].x for k in (0.0, 1.0, 2.0)
    ]
    assert not torch.equal(one, none)
    assert torch.allclose(two - one, one - none, atol=1e-5)  # the Gaussian denoiser is linear


def test_calls_of_the_model() -> None:
    """One a step for the multistep methods, two but for the last for the two-stage ones."""
    for name, sampler in SAMPLERS.items():
        calls: list[float] = []

        def counting(x: Tensor, sigma: float, calls: list[float] = calls) -> Tensor:
            calls.append(sigma)
            return gaussian(x, sigma)

        list(sampler.run(counting, torch.zeros(1, 1, 2, 2), grid(8), Noise([0])))
        assert len(calls) == (15 if name in ("heun", "dpmpp_sde") else 8), name
        assert min(calls) > 0


def test_the_solver_types_of_dpmpp_2m_sde_differ_and_others_are_refused() -> None:
    x, sampler = torch.randn(1, 1, 4, 4), SAMPLERS["dpmpp_2m_sde"]
    midpoint, heun = [run(sampler, x, grid(6), Noise([0]), solver_type=kind)[-1].x for kind in ("midpoint", "heun")]
    assert not torch.allclose(midpoint, heun, atol=1e-4)
    with pytest.raises(ValueError, match="choose 'midpoint' or 'heun'"):
        run(sampler, x, grid(6), Noise([0]), solver_type="euler")
