"""Other programs' rules: which noise levels run, and where sampling starts."""

import math
from itertools import pairwise

import pytest
import torch

from helpers import first_call, levels, network_calls, noise_levels, random_picture
from ldm.compat.profiles import PROFILE_NAMES, PROFILES
from ldm.request import Request
from ldm.samplers import SAMPLERS

PICTURE = random_picture(16, 16)
EACH = pytest.mark.parametrize("name", PROFILE_NAMES)


# Of 20 steps at strength 0.75


@pytest.mark.parametrize(
    ("name", "run", "whole"),
    [
        (None, 15, 20),
        ("a1111", 16, 20),
        ("a1111_cpu", 16, 20),
        ("comfyui", 20, 26),
        ("diffusers", 15, 20),
        ("compvis", 15, 20),
    ],
)
def test_steps_that_run_on_a_picture(tiny, name, run, whole):
    sigmas = levels(
        tiny, PICTURE, steps=20, strength=0.75, sampler="euler", schedule="karras", compat=name
    )
    assert len(sigmas) - 1 == run
    assert (
        sigmas
        == SAMPLERS["euler"].sigmas(tiny.family.noise_schedule(), whole, "karras")[-run - 1 :]
    )


@EACH
def test_every_number_of_steps_at_every_strength(tiny, name):
    for steps in range(1, 61):
        job = tiny.resolve(Request(strength=1, steps=steps, compat=name), PICTURE)
        profile, training, schedule = job.profile, job.noise_schedule, job.request.schedule
        whole = job.passes[0].sigmas
        for strength in (0.1, 0.5, 0.999, 1):
            sampler, full = job.passes[0].sampler, profile.full_steps
            sigmas = tuple(
                noise_levels(profile, training, sampler, schedule, steps, strength, full)
            )
            assert all(a > b for a, b in pairwise(sigmas))
            assert PROFILES[name].full_steps or sigmas == whole[len(whole) - len(sigmas) :]
            assert strength < 1 or len(sigmas) > steps // 2


def test_a1111_with_full_steps(tiny):
    sigmas = levels(
        tiny, PICTURE, steps=20, strength=0.75, compat="a1111", full_steps=True, schedule="karras"
    )
    assert sigmas == SAMPLERS["euler"].sigmas(tiny.family.noise_schedule(), 26, "karras")[-21:]


@EACH
def test_the_ends_of_strength(tiny, name):
    assert len(levels(tiny, PICTURE, steps=9, strength=1, compat=name)) == 10
    assert len(levels(tiny, PICTURE, steps=9, strength=0, compat=name)) == (
        2 if name.startswith("a1111") else 1
    )
    assert len(levels(tiny, steps=9, compat=name)) == 10


# Where sampling starts


@pytest.mark.parametrize(
    ("name", "sampler", "schedule", "with_one"),
    [
        (None, "euler", "karras", True),
        ("a1111", "euler", "karras", False),
        ("a1111", "ddim", "ddim_uniform", True),
        ("comfyui", "euler", "karras", True),
        ("comfyui", "euler", "ddim_uniform", False),
        ("diffusers", "euler", "uniform", False),
        ("diffusers", "euler", "leading", True),
        ("diffusers", "dpmpp_2m", "karras", True),
        ("compvis", "ddim", "leading", True),
    ],
)
def test_scale_of_the_first_noise(tiny, name, sampler, schedule, with_one):
    request = Request("a", seed=7, steps=5, sampler=sampler, schedule=schedule, compat=name)
    job = tiny.resolve(request)
    sigmas = job.passes[0].sigmas
    noise = job.noise(job.passes[0], tiny.dtype)(torch.zeros(1, 4, 8, 8))
    expected = noise if with_one else noise * sigmas[0] / math.sqrt(1 + sigmas[0] ** 2)
    seen = first_call(tiny, request).x
    torch.testing.assert_close(seen[:1], expected, atol=1e-6, rtol=1e-5)


# Between training steps


def test_diffusers_is_linear_in_sigma(tiny):
    for name in PROFILES:
        sigmas = levels(tiny, steps=10, sampler="euler", schedule="uniform", compat=name)
        schedule = tiny.family.noise_schedule(name == "diffusers")
        assert sigmas == SAMPLERS["euler"].sigmas(schedule, 10, "uniform")
    assert levels(tiny, steps=10, schedule="uniform") != levels(
        tiny, steps=10, schedule="uniform", compat="diffusers"
    )


def test_comfyui_asks_the_network_at_whole_training_steps(tiny):
    with network_calls(tiny) as calls:
        for name in ("comfyui", "a1111"):
            list(tiny.steps(Request("a", steps=7, schedule="karras", compat=name)))
    seen = [call.t.item() for call in calls]
    assert seen[:7] == [round(t) for t in seen[7:]] != seen[7:]


def test_comfyui_adds_the_noise_of_the_top_level_to_a_picture_as_to_nothing(tiny):
    request = Request("a", seed=7, steps=3, strength=1, compat="comfyui")
    job = tiny.resolve(request, PICTURE)
    sigma, clean = job.passes[0].sigmas[0], tiny.encode(job.init.image)
    noise = job.noise(job.passes[0], tiny.dtype)(clean)
    expected = clean / math.sqrt(1 + sigma**2) + noise
    seen = first_call(tiny, request, PICTURE).x
    torch.testing.assert_close(seen[:1], expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", ["a1111", "compvis", "diffusers"])
def test_the_last_step_of_ddim_leads_to_the_first_training_step(tiny, name):
    """Song et al. 2021, eq. 12, in x_t, whose last a is not 1 but the first of the model's."""
    a_first = tiny.family.noise_schedule().alphas_cumprod[0].item()
    request = Request("a", steps=4, sampler="ddim", compat=name)
    sigmas = tiny.resolve(request).passes[0].sigmas
    assert sigmas[-1] == pytest.approx(math.sqrt((1 - a_first) / a_first))
    *_, before, last = tiny.steps(request)
    direction = (before.x - last.denoised) / sigmas[-2]
    torch.testing.assert_close(
        last.x, a_first**0.5 * last.denoised + (1 - a_first) ** 0.5 * direction
    )
    assert levels(tiny, steps=4, sampler="ddim")[-1] == levels(tiny, steps=4, compat=name)[-1] == 0


def test_a1111s_second_pass_runs_all_its_steps(tiny):
    for name, run in ((None, 5), ("a1111", 10)):
        request = Request("a", steps=10, hires=2, hires_strength=0.5, compat=name)
        assert len(tiny.resolve(request).passes[1].sigmas) - 1 == run
