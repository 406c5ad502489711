"""CompVis's own numbers: its steps, its noise on a picture, its DPM-Solver; and which schedule a
program has for Stable Diffusion 1's own sampler."""

import math
from itertools import pairwise

import pytest
import torch

from helpers import NoNoise, assert_same, gaussian, latents, network_calls, normal
from ldm.models.families import FAMILIES
from ldm.pipeline.given import Given
from ldm.pipeline.job import resolve
from ldm.request import Request
from ldm.samplers import SAMPLERS

SD1 = FAMILIES["sd1"]
TRAINING = SD1.noise_schedule()


def times(request, **given):
    """The training steps of a pass of Stable Diffusion 1's, in whole numbers where they are."""
    (part,) = resolve(request, SD1, given=Given(**given)).passes
    return [round(t, 3) for t in TRAINING.timesteps(part.sigmas[:-1])]


# Which schedule


@pytest.mark.parametrize("name", ["compvis", "a1111", "a1111_cpu"])
def test_on_its_own_sampler_sd1_takes_the_programs_steps_and_not_its_own(name):
    for steps in range(1, 402):
        stride = 1000 // steps
        wanted = [t + 1 for t in range(0, 1000, stride)]
        if name == "compvis" and wanted[-1] == 1000:
            continue  # where CompVis fails
        wanted = sorted({min(t, 999) for t in wanted}, reverse=True)
        assert times(Request(steps=steps, compat=name)) == wanted
        assert times(Request(steps=steps, compat=name, sampler="ddim")) == wanted
        assert times(Request(steps=steps, compat=name, schedule="automatic")) == wanted


@pytest.mark.parametrize("name", [None, "comfyui", "diffusers"])
def test_where_a_program_has_no_schedule_for_it_the_familys_goes_with_its_sampler(name):
    job = resolve(Request(steps=12, compat=name), SD1)
    assert (job.request.schedule, len(job.passes[0].sigmas)) == ("leading", 13)
    job = resolve(Request(steps=12, compat="compvis", schedule="leading"), SD1)
    assert len(job.passes[0].sigmas) == 13  # one that is asked for goes before


# Image to image


@pytest.mark.parametrize(
    ("steps", "strength", "calls", "first", "noised"),
    [(10, 0.5, 5, 401, 501), (12, 0.8, 9, 665, 748), (50, 0.75, 37, 721, 741)],
)
def test_compvis_noises_a_picture_one_level_above_its_first_call(
    steps, strength, calls, first, noised
):
    request = Request(steps=steps, strength=strength, compat="compvis")
    found = times(request, latents=torch.zeros(1, 4, 64, 64))
    (part,) = resolve(request, SD1, given=Given(latents=torch.zeros(1, 4, 64, 64))).passes
    assert (len(found), found[0]) == (calls, first)
    assert TRAINING.t(part.noised) == pytest.approx(noised)
    for other in (None, "a1111", "comfyui", "diffusers"):
        job = resolve(
            Request(steps=steps, strength=strength, compat=other),
            SD1,
            given=Given(latents=torch.zeros(1, 4, 64, 64)),
        )
        assert job.passes[0].noised == job.passes[0].sigmas[0]


def test_at_full_strength_the_noise_is_of_the_last_level_there_is():
    given = {"latents": torch.zeros(1, 4, 64, 64)}
    (part,) = resolve(
        Request(steps=10, strength=1, compat="compvis"), SD1, given=Given(**given)
    ).passes
    assert part.noised == part.sigmas[0]  # CompVis fails here
    assert times(Request(steps=10, strength=1, compat="compvis"), **given)[0] == 901


def test_a_picture_of_compviss_img2img_is_that_of_ddim_as_it_is_written(tiny):
    """`stochastic_encode` and `decode` in x_t and a, as in the paper."""
    clean, noise, told = normal(1, 4, 8, 8), normal(1, 4, 8, 8, seed=1), tiny.conditioning(["a"])
    a = tiny.family.noise_schedule().alphas_cumprod.tolist()
    steps = [1 + 100 * i for i in range(10)]
    x = a[steps[5]] ** 0.5 * clean + (1 - a[steps[5]]) ** 0.5 * noise
    for t, before in pairwise([*reversed(steps[:5]), 0]):
        e = tiny.unet(x, torch.tensor([float(t)]), told)
        x0 = (x - (1 - a[t]) ** 0.5 * e) / a[t] ** 0.5
        x = a[before] ** 0.5 * x0 + (1 - a[before]) ** 0.5 * e
    request = Request(steps=10, strength=0.5, sampler="ddim", compat="compvis", guidance_scale=1)
    with network_calls(tiny) as calls:
        found = latents(tiny, request, latents=clean, noise=noise, conditioning=told)
    assert [round(call.t.item()) for call in calls] == [401, 301, 201, 101, 1]
    assert_same(found, x)


# DPM-Solver


@pytest.mark.parametrize(
    "options", [{"sampler": "dpm_solver"}, {"sampler": "dpmpp_2m", "compat": "compvis"}]
)
def test_dpm_solver_has_compviss_steps_and_ends_at_the_first_training_step(options):
    assert times(Request(steps=10, **options)) == pytest.approx(
        [999 - 99.9 * i for i in range(10)], abs=1e-3
    )
    (part,) = resolve(Request(steps=10, **options), SD1).passes
    assert part.sigmas[-1] == TRAINING.sigma_min


@pytest.mark.parametrize("steps", [5, 14, 15, 20])
def test_dpm_solver_is_as_its_authors_have_it(steps):
    """multistep_uniform in alpha, sigma and lambda, with data prediction: Lu et al. 2022b."""
    sigmas = list(resolve(Request(steps=steps, sampler="dpm_solver"), SD1).passes[0].sigmas)
    x = start = normal(1, 4, 8, 8, dtype=torch.float64) * math.hypot(1, sigmas[0])
    alphas = [1 / math.hypot(1, sigma) for sigma in sigmas]
    x, data, lambdas = x * alphas[0], [], [-math.log(sigma) for sigma in sigmas]
    for i in range(steps):
        data.append(gaussian(x / alphas[i], sigmas[i]))
        h, ratio = (
            lambdas[i + 1] - lambdas[i],
            alphas[i + 1] * sigmas[i + 1] / alphas[i] / sigmas[i],
        )
        d = data[i]
        if i > 0 and (i < steps - 1 or steps >= 15):
            d = d + h / (lambdas[i] - lambdas[i - 1]) / 2 * (d - data[i - 1])
        x = ratio * x - alphas[i + 1] * math.expm1(-h) * d
    found = [*SAMPLERS["dpm_solver"].run(gaussian, start, sigmas, NoNoise())][-1].x
    torch.testing.assert_close(found * alphas[-1], x)
