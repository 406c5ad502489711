"""Samplers against diffusers' schedulers, and the sigma lists against the values other programs use.

The lists differ between programs (diffusers interpolates t -> sigma linearly in sigma where k-diffusion and this
project do it in log sigma; its lists start elsewhere), the methods do not. So each scheduler makes its own list and
both sides run on that one, with one nonlinear function as the denoiser.
"""

from typing import Any

import pytest
import torch
from torch import Tensor

from ldm.samplers import SAMPLERS, SCHEDULES, Noise, NoiseSchedule, scaled_linear_betas

diffusers = pytest.importorskip("diffusers")

BETAS = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
STEPS = 12


def denoise(x: Tensor, sigma: float) -> Tensor:
    return torch.tanh(x / (1 + sigma**2) + 0.3 * x.mean().sin())


def ours(name: str, x: Tensor, sigmas: list[float], **options: Any) -> Tensor:
    *_, last = SAMPLERS[name].run(denoise, x, sigmas, Noise([0]), **options)
    return last.x


def theirs(scheduler: Any, x: Tensor, sigma_of: Any, variance_preserving: bool) -> Tensor:
    """Run a scheduler on x at its first sigma, giving it the eps of our denoiser."""
    if variance_preserving:
        x = x / (1 + sigma_of(0) ** 2) ** 0.5
    for i, t in enumerate(scheduler.timesteps):
        sigma = sigma_of(i)
        clean = x * (1 + sigma**2) ** 0.5 if variance_preserving else x
        x = scheduler.step((clean - denoise(clean, sigma)) / sigma, t, x).prev_sample
    return x


def start(sigma: float) -> Tensor:
    return sigma * torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))


def test_ddim() -> None:
    """On leading steps, which are a fixed 1000 // STEPS apart: it goes from t to t - 1000 // STEPS on any list."""
    scheduler = diffusers.DDIMScheduler(**BETAS, clip_sample=False, set_alpha_to_one=True, steps_offset=1)
    scheduler.set_timesteps(STEPS)
    a = scheduler.alphas_cumprod.double()
    sigmas = ((1 - a) / a).sqrt()[scheduler.timesteps].tolist()
    assert sigmas == pytest.approx(SCHEDULES["leading"](NoiseSchedule(scaled_linear_betas()), STEPS)[:-1], rel=1e-4)
    x = start(sigmas[0])
    expected = theirs(scheduler, x, lambda i: sigmas[i], variance_preserving=True)
    assert (ours("ddim", x, [*sigmas, 0.0]) - expected).abs().max() < 1e-4


@pytest.mark.parametrize("karras", [False, True])
@pytest.mark.parametrize("name", ["euler", "heun", "dpmpp_2m"])
def test_karras_style_schedulers(name: str, karras: bool) -> None:
    if name == "dpmpp_2m":
        scheduler = diffusers.DPMSolverMultistepScheduler(**BETAS, use_karras_sigmas=karras, final_sigmas_type="zero")
    else:
        kind = {"euler": "EulerDiscreteScheduler", "heun": "HeunDiscreteScheduler"}[name]
        scheduler = getattr(diffusers, kind)(**BETAS, use_karras_sigmas=karras)
    scheduler.set_timesteps(STEPS)
    calls = scheduler.sigmas.double().tolist()
    sigmas = sorted(set(calls), reverse=True)  # Heun's list has every inner sigma twice
    x = start(sigmas[0])
    expected = theirs(scheduler, x, lambda i: calls[i], variance_preserving=name == "dpmpp_2m")
    assert (ours(name, x, sigmas) - expected).abs().max() < 1e-4


SIGMAS = {  # ten steps of Stable Diffusion 1, as AUTOMATIC1111, k-diffusion and ComfyUI compute them
    "karras": [14.6146, 9.1029, 5.4784, 3.1686, 1.7494, 0.9141, 0.4469, 0.2014, 0.0819, 0.0292, 0],
    "uniform": [14.6146, 7.8399, 4.6092, 2.9183, 1.9502, 1.3449, 0.9324, 0.6250, 0.3687, 0.0292, 0],
}


@pytest.mark.parametrize("name", SIGMAS)
def test_sigma_lists(name: str) -> None:
    assert SCHEDULES[name](NoiseSchedule(scaled_linear_betas()), 10) == pytest.approx(SIGMAS[name], abs=6e-5)


def test_the_noise_schedule_of_stable_diffusion_1() -> None:
    schedule = NoiseSchedule(scaled_linear_betas())
    assert schedule.sigma_min == pytest.approx(0.029167, abs=1e-6)
    assert schedule.sigma_max == pytest.approx(14.614641, abs=1e-6)
    assert schedule.alphas_cumprod[[0, 999]].tolist() == pytest.approx([0.99915, 0.0046601], abs=1e-7)
    scheduler = diffusers.DDIMScheduler(**BETAS)
    assert torch.allclose(schedule.alphas_cumprod.float(), scheduler.alphas_cumprod, rtol=1e-5, atol=0)
