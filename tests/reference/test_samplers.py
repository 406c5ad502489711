"""Samplers against diffusers' schedulers, and the sigma lists against the values other programs
use.

The lists differ between programs (diffusers interpolates t -> sigma linearly in sigma where
k-diffusion and this project do it in log sigma; its lists start elsewhere), the methods do not. So
each scheduler makes its own list and both sides run on that one, with one nonlinear function as the
denoiser.
"""

from typing import Any

import pytest
import torch
from torch import Tensor

from ldm.samplers import (
    SAMPLERS,
    SCHEDULES,
    Noise,
    NoiseSchedule,
    scaled_linear_betas,
    zero_terminal_snr,
)

diffusers = pytest.importorskip("diffusers")

BETAS = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
STEPS = 12


def denoise(x: Tensor, sigma: float) -> Tensor:
    return torch.tanh(x / (1 + sigma**2) + 0.3 * x.mean().sin())


class Same(Noise):
    """The same noise at every step."""

    def path(self, x: Tensor, start: float, end: float) -> Tensor:
        return torch.linspace(-2, 2, x.numel()).reshape(x.shape)


def ours(
    name: str, x: Tensor, sigmas: list[float], before_last: bool = False, **options: Any
) -> Tensor:
    steps = list(SAMPLERS[name].run(denoise, x, sigmas, Same([0]), **options))
    return steps[-2 if before_last else -1].x


def theirs(
    scheduler: Any,
    x: Tensor,
    levels: list[float],
    preserving: bool,
    calls: int = 99,
    **options: Any,
) -> Tensor:
    """Run a scheduler on x at levels[0], giving it at its call i the eps of our denoiser at
    levels[i].

    preserving: it keeps x / sqrt(1 + sigma^2) instead of x.
    """
    x = x / (1 + preserving * levels[0] ** 2) ** 0.5
    for t, sigma in list(zip(scheduler.timesteps, levels))[:calls]:
        clean = x * (1 + preserving * sigma**2) ** 0.5
        x = scheduler.step((clean - denoise(clean, sigma)) / sigma, t, x, **options).prev_sample
    end = levels[calls] if calls < len(levels) else 0.0
    return x * (1 + preserving * end**2) ** 0.5


def start(sigma: float) -> Tensor:
    return sigma * torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(1))


def generator(name: str) -> dict[str, torch.Generator]:
    """The generator of Noise([0]), for schedulers that draw."""
    return {"generator": torch.Generator().manual_seed(0)} if SAMPLERS[name].stochastic else {}


def descending(levels: list[float]) -> list[float]:
    """Each level once: schedulers of two calls a step list some twice."""
    return sorted(set(levels), reverse=True)


@pytest.mark.parametrize(
    ("name", "kind", "config"),
    [
        ("euler", "EulerDiscreteScheduler", {}),
        ("euler", "EulerDiscreteScheduler", {"use_karras_sigmas": True}),
        ("euler_ancestral", "EulerAncestralDiscreteScheduler", {}),
        ("heun", "HeunDiscreteScheduler", {}),
        ("heun", "HeunDiscreteScheduler", {"use_karras_sigmas": True}),
        ("dpm2", "KDPM2DiscreteScheduler", {}),
    ],
)
def test_schedulers_that_keep_x(name: str, kind: str, config: dict[str, Any]) -> None:
    scheduler = getattr(diffusers, kind)(**BETAS, **config)
    scheduler.set_timesteps(STEPS)
    levels = scheduler.sigmas.double().tolist()
    calls = levels
    if name == "dpm2":  # every second call is at the middle of a step
        calls = [
            (scheduler.sigmas_interpol[i].item() if i % 2 else level)
            for i, level in enumerate(levels)
        ]
    x = start(levels[0])
    expected = theirs(scheduler, x, calls, preserving=False, **generator(name))
    assert (ours(name, x, descending(levels)) - expected).abs().max() < 1e-4


SDE = {"algorithm_type": "sde-dpmsolver++"}


@pytest.mark.parametrize("karras", [False, True])
@pytest.mark.parametrize(
    ("name", "kind", "config"),
    [
        ("dpmpp_2m", "DPMSolverMultistepScheduler", {}),
        ("dpmpp_2m_sde", "DPMSolverMultistepScheduler", SDE),
        ("dpmpp_2m_sde_heun", "DPMSolverMultistepScheduler", {**SDE, "solver_type": "heun"}),
        ("unipc_bh2", "UniPCMultistepScheduler", {"solver_order": 3}),
    ],
)
def test_schedulers_of_several_steps(
    name: str, kind: str, config: dict[str, Any], karras: bool
) -> None:
    scheduler = getattr(diffusers, kind)(
        **BETAS, **config, use_karras_sigmas=karras, final_sigmas_type="zero"
    )
    scheduler.set_timesteps(STEPS)
    levels = scheduler.sigmas.double().tolist()
    x = start(levels[0])
    options = {"variance_noise": Same([0]).path(x, 1, 0)} if SAMPLERS[name].stochastic else {}
    expected = theirs(scheduler, x, levels[:-1], preserving=True, **options)
    assert (ours(name, x, levels) - expected).abs().max() < 1e-4


def test_dpmpp_3m_without_noise() -> None:
    """The Heun type is that of the second step. The stochastic form there weighs the curvature
    otherwise: by 1 more."""
    scheduler = diffusers.DPMSolverMultistepScheduler(
        **BETAS,
        solver_order=3,
        solver_type="heun",
        lower_order_final=False,
        final_sigmas_type="zero",
    )
    scheduler.set_timesteps(STEPS)
    levels = scheduler.sigmas.double().tolist()
    x = start(levels[0])
    expected = theirs(scheduler, x, levels[:-1], preserving=True)
    assert (ours("dpmpp_3m_sde", x, levels, eta=0.0) - expected).abs().max() < 1e-4


@pytest.mark.parametrize("order", [2, 3])
@pytest.mark.parametrize(
    ("name", "kind", "config"),
    [
        ("deis", "DEISMultistepScheduler", {"lower_order_final": False}),
        ("unipc", "UniPCMultistepScheduler", {"solver_type": "bh1", "final_sigmas_type": "zero"}),
    ],
)
def test_schedulers_that_cannot_step_to_zero(
    name: str, kind: str, config: dict[str, Any], order: int
) -> None:
    """DEIS ends at sigma_min there, bh1 in NaN; so they are compared before their last step."""
    scheduler = getattr(diffusers, kind)(**BETAS, **config, solver_order=order)
    scheduler.set_timesteps(STEPS)
    levels = [*scheduler.sigmas.double().tolist()[:-1], 0.0]
    x = start(levels[0])
    expected = theirs(scheduler, x, levels, preserving=True, calls=STEPS - 1)
    assert (ours(name, x, levels, before_last=True, order=order) - expected).abs().max() < 1e-4


@pytest.mark.parametrize(
    ("name", "kind", "config"),
    [
        ("ddim", "DDIMScheduler", {"clip_sample": False, "set_alpha_to_one": True}),
        ("ddpm", "DDPMScheduler", {"clip_sample": False, "timestep_spacing": "leading"}),
        ("plms", "PNDMScheduler", {"skip_prk_steps": True, "set_alpha_to_one": True}),
    ],
)
def test_schedulers_that_count_training_steps(name: str, kind: str, config: dict[str, Any]) -> None:
    """On leading steps, which are a fixed 1000 // STEPS apart: they go from t to t - 1000 // STEPS
    on any list."""
    scheduler = getattr(diffusers, kind)(**BETAS, **config, steps_offset=1)
    scheduler.set_timesteps(STEPS)
    a = scheduler.alphas_cumprod.double()
    levels = ((1 - a) / a).sqrt()[scheduler.timesteps].tolist()
    sigmas = [*descending(levels), 0.0]
    assert sigmas == pytest.approx(SCHEDULES["leading"](SCHEDULE, STEPS), rel=1e-4)
    x = start(levels[0])
    expected = theirs(scheduler, x, levels, preserving=True, **generator(name))
    assert (ours(name, x, sigmas) - expected).abs().max() < 1e-4


def test_lcm() -> None:
    """diffusers mixes a little of x into D, 0.25 / (10 t)^2 of it: less than a 1e-5th but in the
    last step."""
    scheduler = diffusers.LCMScheduler(**BETAS, clip_sample=False, set_alpha_to_one=True)
    scheduler.set_timesteps(8)
    a = scheduler.alphas_cumprod.double()
    levels = ((1 - a) / a).sqrt()[scheduler.timesteps].tolist()
    x = start(levels[0])
    expected = theirs(scheduler, x, levels, preserving=True, **generator("lcm"))
    assert (ours("lcm", x, [*levels, 0.0]) - expected).abs().max() < 1e-4


SCHEDULE = NoiseSchedule(scaled_linear_betas())
# ten steps of Stable Diffusion 1, as AUTOMATIC1111, k-diffusion and ComfyUI compute them
SIGMAS = {
    "karras": [14.6146, 9.1029, 5.4784, 3.1686, 1.7494, 0.9141, 0.4469, 0.2014, 0.0819, 0.0292, 0],
    "uniform": [14.6146, 7.8399, 4.6092, 2.9183, 1.9502, 1.3449, 0.9324, 0.6250, 0.3687, 0.0292, 0],
    "normal": [14.6146, 7.8399, 4.6092, 2.9183, 1.9502, 1.3449, 0.9324, 0.6250, 0.3687, 0.0292, 0],
    "sgm_uniform": [
        14.6146,
        8.3072,
        5.0924,
        3.3251,
        2.2797,
        1.6156,
        1.1629,
        0.8319,
        0.5712,
        0.3437,
        0,
    ],
    "simple": [14.6146, 8.3028, 5.0878, 3.3211, 2.2765, 1.6129, 1.1606, 0.8299, 0.5693, 0.3417, 0],
    "ddim_uniform": [
        8.3907,
        5.1344,
        3.3478,
        2.2929,
        1.6237,
        1.1682,
        0.8357,
        0.5741,
        0.3462,
        0.0413,
        0,
    ],
}


@pytest.mark.parametrize("name", SIGMAS)
def test_sigma_lists(name: str) -> None:
    assert SCHEDULES[name](SCHEDULE, 10) == pytest.approx(SIGMAS[name], abs=6e-5)


@pytest.mark.parametrize("steps", [7, 12, 20])
@pytest.mark.parametrize("spacing", ["leading", "trailing", "linspace"])
def test_spacings(spacing: str, steps: int) -> None:
    scheduler = diffusers.DDIMScheduler(**BETAS, timestep_spacing=spacing, steps_offset=1)
    scheduler.set_timesteps(steps)
    expected = [SCHEDULE.sigma(t) for t in scheduler.timesteps.tolist()]
    assert SCHEDULES[spacing](SCHEDULE, steps)[:-1] == pytest.approx(expected, rel=1e-9)


def test_align_your_steps_at_the_number_it_was_made_for() -> None:
    expected = diffusers.schedulers.AysSchedules["StableDiffusionSigmas"]
    assert SCHEDULES["align_your_steps"](SCHEDULE, 11)[:10] == pytest.approx(
        expected[:10], abs=1e-3
    )


def test_the_noise_schedule_of_stable_diffusion_1() -> None:
    assert SCHEDULE.sigma_min == pytest.approx(0.029167, abs=1e-6)
    assert SCHEDULE.sigma_max == pytest.approx(14.614641, abs=1e-6)
    assert SCHEDULE.alphas_cumprod[[0, 999]].tolist() == pytest.approx(
        [0.99915, 0.0046601], abs=1e-7
    )
    scheduler = diffusers.DDIMScheduler(**BETAS)
    assert torch.allclose(
        SCHEDULE.alphas_cumprod.float(), scheduler.alphas_cumprod, rtol=1e-5, atol=0
    )


def test_zero_terminal_snr() -> None:
    """Equal but for the last value, which is 0 there."""
    ours = NoiseSchedule(zero_terminal_snr(scaled_linear_betas())).alphas_cumprod
    expected = diffusers.DDIMScheduler(**BETAS, rescale_betas_zero_snr=True).alphas_cumprod.double()
    assert torch.allclose(ours[:-1], expected[:-1], rtol=1e-3, atol=1e-7)
    assert expected[-1] == 0
    assert ours[-1] < 5e-8
