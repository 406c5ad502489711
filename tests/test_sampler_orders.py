"""Every method against closed-form answers: for normal data N(MU, S^2) the exact denoiser is

    D(x, sigma) = MU + S^2 / (S^2 + sigma^2) (x - MU)

and the probability flow leads x at sigma to  MU + (x - MU) S / sqrt(S^2 + sigma^2)  at 0.
"""

import math
from itertools import pairwise
from typing import Any

import pytest
import torch

from helpers import MU, QUIET, NoNoise, RecordedNoise, S, gaussian, grid, normal, walk
from ldm.samplers import SAMPLERS, Noise, Sampler, ddim_inversion
from ldm.samplers.lms import PLMS_WEIGHTS, adams_bashforth
from ldm.samplers.restart import Restart
from ldm.samplers.schedule import karras_ramp

SOLVERS = [
    s for s in SAMPLERS.values() if s.order is not None and s.name not in ("ddpm", "dpm_adaptive")
]


@pytest.mark.parametrize("sampler", SOLVERS, ids=lambda s: s.name)
def test_the_error_falls_with_the_order_of_the_method(sampler: Sampler) -> None:
    """Measured where sigma is 0.2, as the last step, to 0, is another."""
    x = MU + 2 * normal(1, 1, 4, 4, dtype=torch.float64)
    exact = MU + (x - MU) * math.hypot(S, 0.2) / math.hypot(S, 1.0)
    errors = []
    for n in (96, 192):
        steps = walk(
            sampler,
            x,
            [*karras_ramp(1.0, 0.2, n + 1, rho=3.0), 0.0],
            NoNoise(),
            **QUIET[sampler.name],
        )
        errors.append((steps[-2].x - exact).abs().max().item())
    assert errors[1] > 1e-9  # far from rounding
    assert math.log2(errors[0] / errors[1]) == pytest.approx(sampler.order, abs=0.15)


def test_dpm_fast_is_of_order_3_where_its_last_step_is_of_order_2() -> None:
    x = MU + 2 * normal(1, 1, 4, 4, dtype=torch.float64)
    exact = MU + (x - MU) * math.hypot(S, 0.2) / math.hypot(S, 1.0)
    errors = []
    for thirds in (32, 64):
        steps = walk(
            SAMPLERS["dpm_fast"], x, [*karras_ramp(1.0, 0.2, 3 * thirds + 3), 0.0], NoNoise()
        )
        errors.append((steps[-2].x - exact).abs().max().item())
    assert math.log2(errors[0] / errors[1]) == pytest.approx(3, abs=0.15)


@pytest.mark.parametrize("sampler", SOLVERS, ids=lambda s: s.name)
def test_the_end_point_is_that_of_the_flow(sampler: Sampler) -> None:
    x = MU + 8 * normal(1, 1, 4, 4, dtype=torch.float64)
    exact = MU + (x - MU) * S / math.hypot(S, 8.0)
    last = walk(sampler, x, grid(200), NoNoise(), **QUIET[sampler.name])[-1].x
    assert (last - exact).abs().max() < (0.02 if sampler.order == 1 else 1e-3)


def test_dpm_adaptive_keeps_its_tolerance() -> None:
    """Its steps are as long as their error h^3 allows, and the end point is as good as each of
    them."""
    x = MU + 2 * normal(1, 1, 4, 4, dtype=torch.float64)
    exact = MU + (x - MU) * math.hypot(S, 0.3) / math.hypot(S, 2.0)
    steps = []
    for tolerance in (1e-4, 1e-5, 1e-6):
        made = walk(
            SAMPLERS["dpm_adaptive"], x, [2.0, 0.3, 0.0], NoNoise(), rtol=tolerance, atol=tolerance
        )
        assert (made[-2].x - exact).abs().max() < 2 * tolerance
        steps.append(len(made) - 1)
    assert [math.log10(b / a) for a, b in pairwise(steps)] == pytest.approx(
        [1 / 3, 1 / 3], abs=0.07
    )
    with pytest.raises(ValueError, match="batch of 2"):
        walk(SAMPLERS["dpm_adaptive"], torch.zeros(2, 1, 2, 2), [8.0, 0.03, 0.0], NoNoise())


def test_ddim_is_euler_without_eta_and_ancestral_and_ddpm_with_eta_1() -> None:
    x = torch.randn(1, 4, 4, 4, dtype=torch.float64)
    for name, eta in (("euler", 0.0), ("euler_ancestral", 1.0), ("ddpm", 1.0)):
        ours = walk(SAMPLERS["ddim"], x, grid(9), Noise([0]), eta=eta)
        theirs = walk(SAMPLERS[name], x, grid(9), Noise([0]))
        assert all(torch.allclose(a.x, b.x, atol=1e-12) for a, b in zip(ours, theirs, strict=True))


def test_ddpm_is_the_posterior_of_the_forward_chain() -> None:
    """In the variance preserving x_t, with the alphas of Ho et al. 2020, eq. 6 and 7."""
    sigma, sigma_next = 2.0, 0.5
    x, noise = torch.randn(1, 1, 4, 4, dtype=torch.float64), RecordedNoise([0])
    step = walk(SAMPLERS["ddpm"], x, [sigma, sigma_next, 0.0], noise)[0]
    a, a_before = 1 / (1 + sigma**2), 1 / (1 + sigma_next**2)
    alpha = a / a_before
    mean = a_before**0.5 * (1 - alpha) / (1 - a) * step.denoised
    mean = mean + alpha**0.5 * (1 - a_before) / (1 - a) * a**0.5 * x
    variance = (1 - a_before) / (1 - a) * (1 - alpha)
    assert torch.allclose(a_before**0.5 * step.x, mean + variance**0.5 * noise.given[0], atol=1e-12)


def test_ddim_inversion_leads_to_the_noise_that_ddim_leads_back() -> None:
    x = MU + normal(1, 1, 8, 8, dtype=torch.float64)
    errors = []
    for n in (100, 200):
        *_, noised = ddim_inversion(gaussian, x, grid(n))
        assert [noised.index, noised.sigma] == [n - 1, 8.0]
        assert torch.allclose(noised.x, MU + (x - MU) * math.hypot(S, 8.0) / S, atol=0.5)
        back = walk(SAMPLERS["ddim"], noised.x, grid(n), NoNoise())[-1].x
        errors.append((back - x).abs().max().item())
    assert errors[1] < 0.05
    assert math.log2(errors[0] / errors[1]) == pytest.approx(1, abs=0.15)


def test_restart_goes_up_and_down_as_told() -> None:
    def levels(sigmas: list[float], **options: Any) -> list[float]:
        return [
            s.sigma
            for s in walk(
                SAMPLERS["restart"], torch.zeros(1, 1, 2, 2), sigmas, Noise([0]), **options
            )
        ]

    assert levels([8, 4, 2, 1, 0.5, 0], restarts=[Restart(1.1, 4.2, 1, 2)]) == [
        4,
        2,
        1,
        1,
        1,
        0.5,
        0,
    ]
    assert levels([8, 4, 2, 1, 0.5, 0], restarts=[Restart(1.1, 4.2, 2, 1)])[3:5] == pytest.approx(
        [2.07, 1], abs=0.01
    )
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
