"""What holds for every sampler of the table, whatever its method."""

import math
from itertools import product

import pytest
import torch
from torch import Tensor

from helpers import MU, QUIET, RecordedNoise, S, gaussian, grid, walk
from ldm.samplers import SAMPLERS, SCHEDULES, Noise, NoiseSchedule, Sampler, scaled_linear_betas

ALL = pytest.mark.parametrize("sampler", SAMPLERS.values(), ids=lambda s: s.name)


def nonlinear(x: Tensor, sigma: float) -> Tensor:
    """Some smooth denoiser of each picture as a whole."""
    return torch.tanh(x / (1 + sigma**2) + 0.3 * x.mean((1, 2, 3), keepdim=True).sin())


@ALL
def test_steps_count_the_intervals_and_end_clean(sampler: Sampler) -> None:
    for sigmas in (
        grid(5),
        grid(12),
        grid(7)[3:],
        [0.4, 0.0],
        [14.6, 0.0],
    ):  # whole lists, a tail, a single step
        x = torch.randn(2, 4, 3, 5, generator=torch.Generator().manual_seed(0))
        if sampler.adaptive:
            x = x[:1]
        steps = walk(sampler, x, sigmas, Noise([0, 1][: len(x)]))
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
            last = walk(sampler, x, tail, Noise([0]), **QUIET[sampler.name])[-1]
            assert last.sigma == 0
            assert last.x.isfinite().all()
            if steps == 40 and sampler.name not in ("ddpm", "lcm"):
                assert torch.allclose(last.x, exact, atol=0.25), (name, len(tail))


@ALL
def test_a_single_step_is_the_denoiser(sampler: Sampler) -> None:
    x = torch.randn(1, 4, 3, 5, dtype=torch.float64)
    (step,) = walk(sampler, x, [3.0, 0.0], Noise([0]))
    assert torch.allclose(step.x, gaussian(x, 3.0), atol=1e-12)


@ALL
def test_running_changes_neither_x_nor_the_global_generator(sampler: Sampler) -> None:
    x, sigmas = torch.randn(1, 4, 4, 4), grid(6)
    before = x.clone(), list(sigmas), torch.random.get_rng_state()
    first = walk(sampler, x, sigmas, Noise([0]))
    kept = [s.x.clone() for s in first]
    assert torch.equal(x, before[0])
    assert sigmas == before[1]
    assert torch.equal(torch.random.get_rng_state(), before[2])
    again = walk(sampler, x, sigmas, Noise([0]))
    assert all(torch.equal(a, b.x) and torch.equal(b.x, c.x) for a, b, c in zip(kept, first, again))


@ALL
def test_deterministic_samplers_draw_nothing(sampler: Sampler) -> None:
    noise = RecordedNoise([0])
    walk(sampler, torch.randn(1, 1, 4, 4), grid(36), noise)
    assert bool(noise.given) == sampler.stochastic


@ALL
def test_a_picture_does_not_depend_on_its_batch(sampler: Sampler) -> None:
    together, alone = RecordedNoise([10, 11, 12, 13]), RecordedNoise([12])
    if sampler.adaptive:
        with pytest.raises(ValueError, match="one by one"):
            walk(sampler, torch.zeros(4, 1, 2, 2), grid(10), together)
        return
    steps, single = [
        list(
            sampler.run(
                nonlinear, 8 * noise(torch.empty(len(noise.seeds), 4, 8, 8)), grid(24), noise
            )
        )
        for noise in (together, alone)
    ]
    assert len(together.given) == len(alone.given)
    assert all(torch.equal(a[2], b[0]) for a, b in zip(together.given, alone.given))
    assert all(torch.allclose(a.x[2], b.x[0], atol=1e-5, rtol=0) for a, b in zip(steps, single))


@ALL
def test_a_sampler_keeps_the_dtype_of_x(sampler: Sampler) -> None:
    for dtype in (torch.float16, torch.bfloat16, torch.float64):
        steps = walk(sampler, torch.ones(1, 1, 2, 2, dtype=dtype), grid(4), Noise([0]))
        assert {s.x.dtype for s in steps} == {dtype}


@ALL
def test_calls_of_the_model_are_as_declared(sampler: Sampler) -> None:
    """In each step, but for the last one of methods of two stages, and for PLMS's first."""
    calls: list[float] = []

    def counting(x: Tensor, sigma: float) -> Tensor:
        calls.append(sigma)
        return gaussian(x, sigma)

    steps = list(sampler.run(counting, torch.ones(1, 1, 2, 2), grid(8), Noise([0])))
    if not sampler.adaptive:
        expected = 7 * sampler.calls_per_step + 1 + (sampler.name == "plms")
        assert len(calls) == expected
    else:
        assert len(calls) >= 3 * (len(steps) - 1) + 1
    assert min(calls) > 0


def test_the_solver_types_of_dpmpp_2m_sde_differ_and_others_are_refused() -> None:
    x, sampler = torch.randn(1, 1, 4, 4), SAMPLERS["dpmpp_2m_sde"]
    midpoint, heun = [
        walk(sampler, x, grid(6), Noise([0]), solver_type=kind)[-1].x
        for kind in ("midpoint", "heun")
    ]
    assert not torch.allclose(midpoint, heun, atol=1e-4)
    with pytest.raises(ValueError, match="choose 'midpoint' or 'heun'"):
        walk(sampler, x, grid(6), Noise([0]), solver_type="euler")
    with pytest.raises(ValueError, match="choose 'bh1' or 'bh2'"):
        walk(SAMPLERS["unipc"], x, grid(6), Noise([0]), variant="bh3")


def test_labels_are_those_of_the_web_ui() -> None:
    labels = {s.label: s for s in SAMPLERS.values()}
    assert len(labels) == len(SAMPLERS)
    assert [labels[a].schedule for a in ("DPM++ 2M", "DPM++ 2M SDE", "Euler a")] == [
        "karras",
        "exponential",
        "uniform",
    ]
    assert {s.label for s in SAMPLERS.values() if s.discard_next_to_last} == {
        "DPM2",
        "DPM2 a",
        "DPM++ 3M SDE",
    }
