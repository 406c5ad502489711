"""Noise schedules, and the lists of sigmas made from them."""

import math
from itertools import pairwise

import pytest
import torch

from ldm.samplers import SAMPLERS, SCHEDULES, NoiseSchedule, scaled_linear_betas, zero_terminal_snr
from ldm.samplers.beta import beta, beta_quantile, beta_sigma, incomplete_beta
from ldm.samplers.schedule import karras
from ldm.samplers.spacings import polyexponential

SCHEDULE = NoiseSchedule(scaled_linear_betas())
SMALL = NoiseSchedule(torch.linspace(0.01, 0.3, 20))
EACH = pytest.mark.parametrize("name", SCHEDULES)


def test_alphas_and_sigmas_by_hand() -> None:
    schedule = NoiseSchedule(torch.tensor([0.5, 0.75]))
    assert schedule.alphas_cumprod.tolist() == [0.5, 0.125]
    assert schedule.sigmas.tolist() == pytest.approx([1.0, 7**0.5])
    assert schedule.sigma(0.5) == pytest.approx(7**0.25)  # the geometric mean
    assert schedule.t(7**0.25) == pytest.approx(0.5)
    assert (len(schedule), schedule.sigma_min, schedule.sigma_max) == (
        2,
        pytest.approx(1.0),
        pytest.approx(7**0.5),
    )


def test_t_and_sigma_are_inverse_and_clamped() -> None:
    for t in (0, 0.25, 1, 499.5, 998.75, 999):
        assert SCHEDULE.t(SCHEDULE.sigma(t)) == pytest.approx(t, abs=1e-9)
    for t in (0, 1, 500, 999):
        assert SCHEDULE.sigma(t) == pytest.approx(SCHEDULE.sigmas[t].item(), rel=1e-12)
    assert (SCHEDULE.t(0.0), SCHEDULE.t(1e9)) == (0, 999)
    assert SCHEDULE.timesteps([1e9, SCHEDULE.sigma(7.5), 0.0]) == pytest.approx([999, 7.5, 0])
    assert (SCHEDULE.sigma(-3), SCHEDULE.sigma(2000)) == (SCHEDULE.sigma_min, SCHEDULE.sigma_max)


def test_sigma_is_linear_between_training_steps_or_its_logarithm() -> None:
    betas = scaled_linear_betas()
    log, linear = NoiseSchedule(betas), NoiseSchedule(betas, linear_sigma=True)
    low, high = log.sigmas[500].item(), log.sigmas[501].item()
    assert linear.sigma(500.5) == pytest.approx((low + high) / 2, rel=1e-12)
    assert log.sigma(500.5) == pytest.approx(math.sqrt(low * high), rel=1e-12)
    assert (linear.sigma_min, linear.sigma_max) == pytest.approx(
        (log.sigma_min, log.sigma_max), rel=1e-12
    )
    for t in (0, 0.25, 499.5, 999):
        assert linear.t(linear.sigma(t)) == pytest.approx(t, abs=1e-9)
    assert (linear.t(0.0), linear.t(1e9)) == (0, 999)


def test_t_can_be_rounded_to_training_steps() -> None:
    schedule = NoiseSchedule(scaled_linear_betas(), round_t=True)
    assert [schedule.t(SCHEDULE.sigma(t)) for t in (3, 3.4, 3.6, 999)] == [3, 3, 4, 999]


@EACH
@pytest.mark.parametrize(
    "schedule", [SCHEDULE, NoiseSchedule(zero_terminal_snr(scaled_linear_betas()))]
)
def test_lists_decrease_to_zero_and_have_their_length(name: str, schedule: NoiseSchedule) -> None:
    for steps in (*range(1, 21), 30, 50, 60):
        sigmas = SCHEDULES[name](schedule, steps)
        assert len(sigmas) == steps + 1 or (
            name in ("ddim_uniform", "ddim_clipped") and len(sigmas) > steps
        )
        assert all(isinstance(s, float) for s in sigmas)
        assert all(a > b for a, b in pairwise(sigmas))
        assert sigmas[-1] == 0
        assert schedule.sigma_min * (1 - 1e-2) <= sigmas[-2]
        assert sigmas[0] <= schedule.sigma_max * (1 + 1e-4)


@pytest.mark.parametrize("name", [name for name in SCHEDULES if name != "align_your_steps"])
def test_lists_of_a_short_schedule(name: str) -> None:
    assert all(a > b for a, b in pairwise(SCHEDULES[name](SMALL, 10)))


def test_where_lists_begin_and_end() -> None:
    first = {name: SCHEDULES[name](SCHEDULE, 12)[0] for name in SCHEDULES}
    at_the_top = {
        name
        for name, sigma in first.items()
        if sigma == pytest.approx(SCHEDULE.sigma_max, rel=1e-4)
    }
    assert set(SCHEDULES) - at_the_top == {"leading", "ddim_uniform", "ddim_clipped"}
    last = {name: SCHEDULES[name](SCHEDULE, 12)[-2] for name in SCHEDULES}
    above = {name for name, sigma in last.items() if sigma > 0.03}
    assert above == {
        "sgm_uniform",
        "sgm_linspace",
        "leading",
        "ddim_uniform",
        "ddim_clipped",
        "trailing",
        "simple",
        "beta",
        "lcm",
        "turbo",
        "dmd2",
        "hyper_sd",
    }


def test_spacing_in_the_right_variable() -> None:
    def even(values: list[float]) -> bool:
        gaps = [a - b for a, b in pairwise(values)]
        return max(gaps) - min(gaps) < 1e-9 * abs(values[0])

    assert even([s ** (1 / 7) for s in karras(SCHEDULE, 9)[:-1]])
    assert even([math.log(s) for s in SCHEDULES["exponential"](SCHEDULE, 9)[:-1]])
    assert even([math.atan(s) for s in SCHEDULES["kl_optimal"](SCHEDULE, 9)[:-1]])
    assert even([SCHEDULE.t(s) for s in SCHEDULES["uniform"](SCHEDULE, 9)[:-1]])
    u = [
        math.log(s / SCHEDULE.sigma_min) ** 0.5 for s in polyexponential(SCHEDULE, 9, rho=2.0)[:-1]
    ]
    assert even(u)


def test_the_training_steps_of_ddim() -> None:
    assert [round(SCHEDULE.t(s)) for s in SCHEDULES["leading"](SCHEDULE, 5)[:-1]] == [
        801,
        601,
        401,
        201,
        1,
    ]
    assert [round(SCHEDULE.t(s)) for s in SCHEDULES["trailing"](SCHEDULE, 5)[:-1]] == [
        999,
        799,
        599,
        399,
        199,
    ]
    assert len(SCHEDULES["ddim_uniform"](SCHEDULE, 12)) - 1 == 13  # 1, 84, ..., 997
    assert SCHEDULES["ddim_clipped"](SCHEDULE, 12) == SCHEDULES["ddim_uniform"](SCHEDULE, 12)
    assert SCHEDULES["ddim_clipped"](SCHEDULE, 27) == [
        SCHEDULE.sigma_max,
        *SCHEDULES["ddim_uniform"](SCHEDULE, 27),
    ]
    assert len(SCHEDULES["leading"](SCHEDULE, 12)) - 1 == 12


def test_the_distribution_function_of_beta() -> None:
    for x in (0.01, 0.3, 0.5, 0.77, 0.999):
        assert incomplete_beta(x, 1, 1) == pytest.approx(x)
        assert incomplete_beta(x, 2, 1) == pytest.approx(x**2)
        assert incomplete_beta(x, 0.5, 0.5) == pytest.approx(
            2 / math.pi * math.asin(x**0.5)
        )  # the arcsine law
        assert beta_quantile(incomplete_beta(x, 0.6, 0.6), 0.6, 0.6) == pytest.approx(x)
    flat = beta_sigma(SCHEDULE, 5, 1.0, 1.0)
    assert flat[2] == pytest.approx((SCHEDULE.sigma_min + SCHEDULE.sigma_max) / 2)


def test_beta_takes_quantiles_over_training_steps() -> None:
    """Ten steps of Stable Diffusion 1, as ComfyUI computes them with scipy's quantiles."""
    sigmas = beta(SCHEDULE, 10)
    expected = [14.615, 11.543, 7.372, 4.373, 2.615, 1.618, 1.027, 0.655, 0.396, 0.199, 0]
    assert sigmas == pytest.approx(expected, abs=6e-4)
    times = SCHEDULE.timesteps(sigmas[:-1])
    assert times == pytest.approx([round(t) for t in times], abs=1e-9)
    assert SCHEDULE.timesteps(beta(SCHEDULE, 4, 1.0, 1.0)[:-1]) == pytest.approx(
        [999, round(0.75 * 999), round(0.5 * 999), round(0.25 * 999)]
    )
    assert (len(beta(SCHEDULE, 138)), len(beta(SCHEDULE, 139))) == (139, 139)  # one taken once


def test_zero_terminal_snr_keeps_the_first_alpha_and_ends_in_noise() -> None:
    betas = scaled_linear_betas()
    before = betas.clone()
    schedule = NoiseSchedule(zero_terminal_snr(betas))
    assert torch.equal(betas, before)
    assert schedule.alphas_cumprod[0].item() == pytest.approx(
        SCHEDULE.alphas_cumprod[0].item(), rel=1e-12
    )
    assert schedule.sigma_max == pytest.approx(4518.76, abs=0.1)
    root, old = schedule.alphas_cumprod.sqrt()[:-1], SCHEDULE.alphas_cumprod.sqrt()[:-1]
    slope = (root[1:] - root[:-1]) / (old[1:] - old[:-1])
    assert slope.max() - slope.min() < 1e-9  # a shift and a stretch, nothing else


def test_samplers_choose_their_list() -> None:
    for sampler in SAMPLERS.values():
        assert sampler.schedule in SCHEDULES
        sigmas = sampler.sigmas(SCHEDULE, 12)
        assert sigmas == sampler.sigmas(SCHEDULE, 12, sampler.schedule)
        assert len(sigmas) == 13
    assert SAMPLERS["euler"].sigmas(SCHEDULE, 7, "karras") == karras(SCHEDULE, 7)
    longer = karras(SCHEDULE, 8)
    assert SAMPLERS["dpm2"].sigmas(SCHEDULE, 7, "karras") == [
        *longer[:7],
        0.0,
    ]  # all but the next to last
    assert SAMPLERS["dpm2"].sigmas(SCHEDULE, 1, "karras") == [longer[0], 0.0]


def test_lists_that_cannot_be_are_refused() -> None:
    with pytest.raises(ValueError, match="0 steps: a sampler takes at least 1"):
        SAMPLERS["euler"].sigmas(SCHEDULE, 0)
    with pytest.raises(
        ValueError, match="schedule 'kerras' is unknown: choose from automatic, karras"
    ):
        SAMPLERS["euler"].sigmas(SCHEDULE, 5, "kerras")
    with pytest.raises(
        ValueError, match="1001 steps are more than leading has different levels for: give fewer"
    ):
        SAMPLERS["ddim"].sigmas(SCHEDULE, 1001)
    with pytest.raises(ValueError, match="this model ends at"):
        SCHEDULES["align_your_steps"](SMALL, 10)
