"""Every sampler of the table against closed-form answers: for Gaussian data N(MU, S^2) the exact denoiser is

    D(x, sigma) = MU + S^2 / (S^2 + sigma^2) (x - MU)

and the probability flow leads x at sigma to  MU + (x - MU) S / sqrt(S^2 + sigma^2)  at 0.
"""

import inspect
import math
from itertools import pairwise, product
from typing import Any

import pytest
import torch
from torch import Tensor

from ldm.samplers import (
    SAMPLERS,
    SCHEDULES,
    Denoiser,
    Noise,
    NoiseSchedule,
    Sampler,
    Step,
    ddim_inversion,
    scaled_linear_betas,
)
from ldm.samplers.lms import PLMS_WEIGHTS, adams_bashforth
from ldm.samplers.restart import Restart
from ldm.samplers.sigmas import karras_ramp

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


QUIET: dict[str, dict[str, Any]] = {  # the options that switch a sampler's randomness off
    **{s.name: {"eta": 0.0} if s.stochastic else {} for s in SAMPLERS.values()},
    "restart": {"restarts": []},
    "ddpm": {},  # it has none
    "lcm": {},
}
SOLVERS = [s for s in SAMPLERS.values() if s.order is not None and s.name not in ("ddpm", "dpm_adaptive")]


@pytest.mark.parametrize("sampler", SOLVERS, ids=lambda s: s.name)
def test_the_error_falls_with_the_order_of_the_method(sampler: Sampler) -> None:
    """Measured where sigma is 0.2, as the last step, to 0, is another."""
    x = MU + 2 * torch.randn(1, 1, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    exact = MU + (x - MU) * math.hypot(S, 0.2) / math.hypot(S, 1.0)
    errors = []
    for n in (96, 192):
        steps = run(sampler, x, [*karras_ramp(1.0, 0.2, n + 1, rho=3.0), 0.0], NoNoise(), **QUIET[sampler.name])
        errors.append((steps[-2].x - exact).abs().max().item())
    assert errors[1] > 1e-9  # far from rounding
    assert math.log2(errors[0] / errors[1]) == pytest.approx(sampler.order, abs=0.15)


def test_dpm_fast_is_of_order_3_where_its_last_step_is_of_order_2() -> None:
    x = MU + 2 * torch.randn(1, 1, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    exact = MU + (x - MU) * math.hypot(S, 0.2) / math.hypot(S, 1.0)
    errors = []
    for thirds in (32, 64):
        steps = run(SAMPLERS["dpm_fast"], x, [*karras_ramp(1.0, 0.2, 3 * thirds + 3), 0.0], NoNoise())
        errors.append((steps[-2].x - exact).abs().max().item())
    assert math.log2(errors[0] / errors[1]) == pytest.approx(3, abs=0.15)


@pytest.mark.parametrize("sampler", SOLVERS, ids=lambda s: s.name)
def test_the_end_point_is_that_of_the_flow(sampler: Sampler) -> None:
    x = MU + 8 * torch.randn(1, 1, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    exact = MU + (x - MU) * S / math.hypot(S, 8.0)
    last = run(sampler, x, grid(200), NoNoise(), **QUIET[sampler.name])[-1].x
    assert (last - exact).abs().max() < (0.02 if sampler.order == 1 else 1e-3)


def test_dpm_adaptive_keeps_its_tolerance() -> None:
    """Its steps are as long as their error h^3 allows, and the end point is as good as each of them."""
    x = MU + 2 * torch.randn(1, 1, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    exact = MU + (x - MU) * math.hypot(S, 0.3) / math.hypot(S, 2.0)
    steps = []
    for tolerance in (1e-4, 1e-5, 1e-6):
        made = run(SAMPLERS["dpm_adaptive"], x, [2.0, 0.3, 0.0], NoNoise(), rtol=tolerance, atol=tolerance)
        assert (made[-2].x - exact).abs().max() < 2 * tolerance
        steps.append(len(made) - 1)
    assert [math.log10(b / a) for a, b in pairwise(steps)] == pytest.approx([1 / 3, 1 / 3], abs=0.07)
    with pytest.raises(ValueError, match="batch of 2"):
        run(SAMPLERS["dpm_adaptive"], torch.zeros(2, 1, 2, 2), [8.0, 0.03, 0.0], NoNoise())


STOCHASTIC = [(s.name, {}) for s in SAMPLERS.values() if s.stochastic]
STOCHASTIC += [("ddim", {"eta": 0.5}), ("dpm_fast", {"eta": 1.0}), ("dpm_adaptive", {"eta": 1.0, "rtol": 0.002})]
STOCHASTIC += [("restart", {"restarts": [Restart(0.3, 3.0, 40, 4), Restart(0.05, 0.5, 40, 2)]})]


def jump(x: Tensor, sigma: float) -> Tensor:
    """The consistency function of the Gaussian: the end of the flow from x."""
    return MU + (x - MU) * S / math.hypot(S, sigma)


@pytest.mark.parametrize(("name", "options"), STOCHASTIC)
def test_stochastic_samplers_reach_the_mean_and_the_variance(name: str, options: dict[str, Any]) -> None:
    x = math.hypot(8, S) * torch.randn(1, 1, 128, 128, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    denoise = jump if name == "lcm" else gaussian
    *_, (_, _, last, _) = SAMPLERS[name].run(denoise, x + MU, grid(160), Noise([1]), **options)
    count = last.numel()
    assert abs(last.mean().item() - MU) < 4 * S / count**0.5  # four standard errors
    assert abs(last.var().item() / S**2 - 1) < 4 * (2 / count) ** 0.5 + 0.02  # and what 160 steps leave


class Impulses(Noise):
    """Picture k of a batch hears one, the k-th, of the independent pieces of all noise; picture 0 hears none.

    The Gaussian denoiser is linear, so for MU = 0 the sum of the squares of where they end is the variance, exactly.
    The pieces of a path are the stretches between `cuts`.
    """

    def __init__(self, cuts: list[float]) -> None:
        self.pieces, self.drawn = list(pairwise(cuts)), 0

    def __call__(self, x: Tensor) -> Tensor:
        self.drawn += 1
        return (torch.arange(len(x)) == self.drawn).to(x)[:, None, None, None]

    def path(self, x: Tensor, start: float, end: float) -> Tensor:
        shares = [(a - b) / (start - end) if start * 1.0001 > a and b > end * 0.9999 else 0.0 for a, b in self.pieces]
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
    "name", [s.name for s in SAMPLERS.values() if s.stochastic and s.name not in ("restart", "lcm")]
)
def test_the_variance_converges_with_the_same_order(name: str) -> None:
    def centred(x: Tensor, sigma: float) -> Tensor:
        return S**2 / (S**2 + sigma**2) * x

    errors = [abs(variance(SAMPLERS[name], centred, n) / S**2 - 1) for n in (150, 300)]
    assert math.log2(errors[0] / errors[1]) == pytest.approx(SAMPLERS[name].order, abs=0.15)


def test_the_variance_of_a_consistency_model_is_right_at_any_number_of_steps() -> None:
    for n in (1, 2, 4, 30):
        assert variance(SAMPLERS["lcm"], lambda x, sigma: x * S / math.hypot(S, sigma), n) == pytest.approx(S**2)


@ALL
def test_steps_count_the_intervals_and_end_clean(sampler: Sampler) -> None:
    for sigmas in (grid(5), grid(12), grid(7)[3:], [0.4, 0.0], [14.6, 0.0]):  # whole lists, a tail, a single step
        x = torch.randn(2, 4, 3, 5, generator=torch.Generator().manual_seed(0))
        if sampler.adaptive:
            x = x[:1]
        steps = run(sampler, x, sigmas, Noise([0, 1][: len(x)]))
        assert [s.index for s in steps] == list(range(len(steps)))
        assert sampler.adaptive or len(steps) == len(sigmas) - 1
        assert sampler.own_levels or [s.sigma for s in steps] == sigmas[1:]
        assert steps[-1].sigma == 0
        assert all(s.x.shape == s.denoised.shape == x.shape for s in steps)
        assert steps[-1].x.isfinite().all()


@ALL
def test_any_sampler_walks_any_list_and_its_tails(sampler: Sampler) -> None:
    schedule = NoiseSchedule(scaled_linear_betas())
    exact = MU + S * torch.linspace(-2, 2, 5, dtype=torch.float64).reshape(1, 1, 1, 5)
    for name, steps in product(SCHEDULES, (1, 2, 3, 7, 40)):
        sigmas = sampler.sigmas(schedule, steps, name)
        for tail in (sigmas, sigmas[steps // 2 :], sigmas[-2:]):
            x = MU + (exact - MU) * math.hypot(S, tail[0]) / S
            last = run(sampler, x, tail, Noise([0]), **QUIET[sampler.name])[-1]
            assert last.sigma == 0
            assert last.x.isfinite().all()
            if steps == 40 and sampler.name not in ("ddpm", "lcm"):
                assert torch.allclose(last.x, exact, atol=0.25), (name, len(tail))


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
    run(sampler, torch.randn(1, 1, 4, 4), grid(36), noise)
    assert bool(noise.given) == sampler.stochastic


@ALL
def test_a_picture_does_not_depend_on_its_batch(sampler: Sampler) -> None:
    together, alone = Recorded([10, 11, 12, 13]), Recorded([12])
    if sampler.adaptive:
        with pytest.raises(ValueError, match="one by one"):
            run(sampler, torch.zeros(4, 1, 2, 2), grid(10), together)
        return
    steps, single = [
        list(sampler.run(nonlinear, 8 * noise(torch.empty(len(noise.seeds), 4, 8, 8)), grid(24), noise))
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


def test_ddim_is_euler_without_eta_and_ancestral_and_ddpm_with_eta_1() -> None:
    x = torch.randn(1, 4, 4, 4, dtype=torch.float64)
    for name, eta in (("euler", 0.0), ("euler_ancestral", 1.0), ("ddpm", 1.0)):
        ours = run(SAMPLERS["ddim"], x, grid(9), Noise([0]), eta=eta)
        theirs = run(SAMPLERS[name], x, grid(9), Noise([0]))
        assert all(torch.allclose(a.x, b.x, atol=1e-12) for a, b in zip(ours, theirs, strict=True))


def test_ddpm_is_the_posterior_of_the_forward_chain() -> None:
    """In the variance preserving x_t, with the alphas of Ho et al. 2020, eq. 6 and 7."""
    sigma, target = 2.0, 0.5
    x, noise = torch.randn(1, 1, 4, 4, dtype=torch.float64), Recorded([0])
    step = run(SAMPLERS["ddpm"], x, [sigma, target, 0.0], noise)[0]
    a, a_before = 1 / (1 + sigma**2), 1 / (1 + target**2)
    alpha = a / a_before
    mean = a_before**0.5 * (1 - alpha) / (1 - a) * step.denoised
    mean = mean + alpha**0.5 * (1 - a_before) / (1 - a) * a**0.5 * x
    variance = (1 - a_before) / (1 - a) * (1 - alpha)
    assert torch.allclose(a_before**0.5 * step.x, mean + variance**0.5 * noise.given[0], atol=1e-12)


def test_ddim_inversion_leads_to_the_noise_that_ddim_leads_back() -> None:
    x = MU + torch.randn(1, 1, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    errors = []
    for n in (100, 200):
        *_, noised = ddim_inversion(gaussian, x, grid(n))
        assert [noised.index, noised.sigma] == [n - 1, 8.0]
        assert torch.allclose(noised.x, MU + (x - MU) * math.hypot(S, 8.0) / S, atol=0.5)
        back = run(SAMPLERS["ddim"], noised.x, grid(n), NoNoise())[-1].x
        errors.append((back - x).abs().max().item())
    assert errors[1] < 0.05
    assert math.log2(errors[0] / errors[1]) == pytest.approx(1, abs=0.15)


def test_restart_goes_up_and_down_as_told() -> None:
    def levels(sigmas: list[float], **options: Any) -> list[float]:
        return [s.sigma for s in run(SAMPLERS["restart"], torch.zeros(1, 1, 2, 2), sigmas, Noise([0]), **options)]

    assert levels([8, 4, 2, 1, 0.5, 0], restarts=[Restart(1.1, 4.2, 1, 2)]) == [4, 2, 1, 1, 1, 0.5, 0]
    assert levels([8, 4, 2, 1, 0.5, 0], restarts=[Restart(1.1, 4.2, 2, 1)])[3:5] == pytest.approx([2.07, 1], abs=0.01)
    assert levels(grid(19)) == grid(19)[1:]
    for n in (20, 36, 50):
        made = levels(grid(n))
        assert len(made) == n
        assert sum(b > a for a, b in pairwise(made)) == (1 if n < 36 else 2)


def test_weights_of_adams_and_bashforth() -> None:
    """On evenly spaced levels, over the length of the step: the textbook's."""
    for k, row in enumerate(PLMS_WEIGHTS):
        weights = adams_bashforth([1.0, 2.0, 3.0, 4.0][: k + 1], 0.0, float)
        assert weights == pytest.approx([-w for w in row], rel=1e-12)
    log = adams_bashforth([4.0, 8.0], 2.0, math.log)  # exact for slopes that are 1 and log sigma
    assert sum(log) == pytest.approx(-2)
    exact = 2 * math.log(2) - 2 - (4 * math.log(4) - 4)
    assert log[0] * math.log(4) + log[1] * math.log(8) == pytest.approx(exact)


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


NOISY: dict[str, dict[str, Any]] = {  # the options that make the others draw in a short run
    **{name: {"s_churn": 2.0} for name in ("euler", "heun", "dpm2")},
    **{name: {"eta": 1.0} for name in ("dpm_fast", "dpm_adaptive")},
    "restart": {"restarts": [Restart(1.0, 3.0, 1, 1)]},
}


@pytest.mark.parametrize(
    "name", [s.name for s in SAMPLERS.values() if "s_noise" in inspect.signature(s.run).parameters]
)
def test_s_noise_scales_the_new_noise(name: str) -> None:
    x, options = torch.randn(1, 1, 8, 8, generator=torch.Generator().manual_seed(1)), dict(NOISY.get(name, {}))
    none, one, two = [
        run(SAMPLERS[name], x, [5.0, 3.0, 2.0, 1.0, 0.0], Noise([0]), s_noise=k, **options)[-1].x
        for k in (0.0, 1.0, 2.0)
    ]
    assert not torch.equal(one, none)
    if not SAMPLERS[name].adaptive:
        assert torch.allclose(two - one, one - none, atol=1e-5)  # the Gaussian denoiser is linear


TWICE = {"heun", "dpm2", "dpm2_ancestral", "dpmpp_2s_ancestral", "dpmpp_sde", "restart"}


@ALL
def test_calls_of_the_model(sampler: Sampler) -> None:
    """One a step for the multistep methods; two, but for the last step, for those of two stages."""
    calls: list[float] = []

    def counting(x: Tensor, sigma: float) -> Tensor:
        calls.append(sigma)
        return gaussian(x, sigma)

    steps = list(sampler.run(counting, torch.ones(1, 1, 2, 2), grid(8), Noise([0])))
    if not sampler.adaptive:
        assert len(calls) == (15 if sampler.name in TWICE else 9 if sampler.name == "plms" else 8)
    else:
        assert len(calls) >= 3 * (len(steps) - 1) + 1
    assert min(calls) > 0


def test_the_solver_types_of_dpmpp_2m_sde_differ_and_others_are_refused() -> None:
    x, sampler = torch.randn(1, 1, 4, 4), SAMPLERS["dpmpp_2m_sde"]
    midpoint, heun = [run(sampler, x, grid(6), Noise([0]), solver_type=kind)[-1].x for kind in ("midpoint", "heun")]
    assert not torch.allclose(midpoint, heun, atol=1e-4)
    with pytest.raises(ValueError, match="choose 'midpoint' or 'heun'"):
        run(sampler, x, grid(6), Noise([0]), solver_type="euler")
    with pytest.raises(ValueError, match="choose 'bh1' or 'bh2'"):
        run(SAMPLERS["unipc"], x, grid(6), Noise([0]), variant="bh3")


def test_labels_are_those_of_the_web_ui() -> None:
    labels = {s.label: s for s in SAMPLERS.values()}
    assert len(labels) == len(SAMPLERS)
    assert [labels[a].schedule for a in ("DPM++ 2M", "DPM++ 2M SDE", "Euler a")] == ["karras", "exponential", "uniform"]
    assert {s.label for s in SAMPLERS.values() if s.discard} == {"DPM2", "DPM2 a", "DPM++ 3M SDE"}
