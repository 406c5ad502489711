"""The rows of PROFILES, and the columns of SAMPLERS that they read, by what is known of each
program."""

import math

import pytest
import torch
from PIL import Image

from ldm.compat.noise import NOISES, CompatNoise
from ldm.compat.profiles import DEFAULT, PROFILE_NAMES, PROFILES
from ldm.pipeline.passes import all_levels, automatic_schedule
from ldm.pipeline.streams import draws
from ldm.request import PROMPT_SYNTAXES, Request
from ldm.samplers import SAMPLERS, SCHEDULES, Noise, NoiseSchedule, scaled_linear_betas

SCHEDULE = NoiseSchedule(scaled_linear_betas())
EACH = pytest.mark.parametrize("name", PROFILE_NAMES)


def test_each_row_has_its_name_and_ours_has_none():
    assert all(profile.name == name for name, profile in PROFILES.items())
    assert PROFILES[None] is DEFAULT
    assert set(PROFILE_NAMES) == set(NOISES) == set(PROFILES) - {None}


def test_columns_of_samplers_speak_of_programs_and_schedules_that_exist():
    programs = {profile.program for profile in PROFILES.values()} - {""}
    for s in SAMPLERS.values():
        named = {*s.schedules, *s.discards, *s.ends_at_sigma_min, *s.starts_from_sigma}
        assert named - {""} | set(s.extra_draws) <= programs
        assert {s.schedule, *s.schedules.values()} <= set(SCHEDULES)
    for profile in PROFILES.values():
        assert {*profile.schedules, *profile.schedules.values()} <= set(SCHEDULES)
        assert profile.prompt_syntax in PROMPT_SYNTAXES


@EACH
def test_noise_is_the_programs(tiny, name):
    request = Request(seed=3, count=2, compat=name, noise_offset=2, ensd=5)
    job, x = tiny.resolve(request), torch.zeros(2, 4, 8, 8)
    made = job.noise(job.passes[0], tiny.dtype)
    theirs = CompatNoise(NOISES[name], [3, 4], job.passes[0].sigmas, noise_offset=2, ensd=5)
    for _ in range(2):
        assert torch.equal(made(x), theirs(x))
    assert job.per_image == NOISES[name].per_image == name.startswith("a1111")


def test_our_noise_is_of_each_picture(tiny):
    job, x = tiny.resolve(Request(seed=3)), torch.zeros(1, 4, 8, 8)
    assert job.per_image
    assert torch.equal(job.noise(job.passes[0], tiny.dtype)(x), Noise([3])(x))


@pytest.mark.parametrize(
    ("name", "sampler", "schedule", "at_top", "with_one"),
    [
        (None, "euler", "karras", False, True),
        ("a1111", "euler", "karras", True, False),
        ("a1111", "unipc", "ddim_clipped", True, True),
        ("comfyui", "euler", "karras", True, True),
        ("comfyui", "euler", "ddim_uniform", False, False),
        ("diffusers", "euler", "uniform", True, False),
        ("diffusers", "euler", "leading", True, True),
        ("diffusers", "dpmpp_2m", "karras", True, True),
        ("compvis", "ddim", "leading", False, True),
    ],
)
def test_whether_the_first_noise_leaves_room_for_a_latent_of_variance_1(
    name, sampler, schedule, at_top, with_one
):
    sigma = 14.0 if at_top else 7.0
    scale, expected = PROFILES[name].initial_noise_scale, math.sqrt(1 + sigma**2)
    if scale is None:
        assert with_one
    else:
        found = scale(SAMPLERS[sampler], schedule, sigma, 14.0)
        assert found == (expected if with_one else sigma)


@pytest.mark.parametrize(
    ("name", "run", "total"),
    [
        (None, [15, 0, 20, 3], 27),
        ("a1111", [16, 1, 20, 3], 26),
        ("a1111_cpu", [16, 1, 20, 3], 26),
        ("comfyui", [15, 0, 20, 2], 26),
        ("diffusers", [15, 0, 20, 2], 27),
        ("compvis", [15, 0, 20, 2], 27),
    ],
)
def test_steps_that_run_on_a_picture(name, run, total):
    profile = PROFILES[name]
    asked = ((20, 0.75), (20, 0), (20, 1), (7, 0.4))
    assert [profile.img2img_steps(steps, strength) for steps, strength in asked] == run
    assert profile.total_steps(20, 0.75) == total


def test_automatic_schedules():
    for name, sampler, schedule in (
        (None, "ddim", "leading"),
        ("compvis", "ddim", "ddim_uniform"),
        ("compvis", "plms", "ddim_uniform"),
        ("a1111_cpu", "unipc", "ddim_clipped"),
        ("a1111", "dpmpp_sde", "karras"),
        ("comfyui", "dpmpp_sde", "karras"),
        ("diffusers", "ddim", "leading"),
        ("diffusers", "dpmpp_sde", "uniform"),
        ("diffusers", "dpmpp_2m", "sgm_linspace"),
    ):
        profile, sampler = PROFILES[name], SAMPLERS[sampler]
        assert automatic_schedule(profile, sampler) == schedule
        expected = sampler.sigmas(SCHEDULE, 8, schedule)
        assert all_levels(profile, SCHEDULE, sampler, "automatic", 8) == expected


def test_beta_is_over_training_steps_where_the_program_has_it_so():
    def levels(name):
        return all_levels(PROFILES[name], SCHEDULE, SAMPLERS["euler"], "beta", 10)

    over_steps, over_sigma = (SCHEDULES[name](SCHEDULE, 10) for name in ("beta", "beta_sigma"))
    assert levels(None) == levels("comfyui") == over_steps
    assert levels("a1111") == levels("a1111_cpu") == levels("diffusers") == over_sigma


def test_next_to_last_sigmas():
    def discarded(name):
        found = {
            sampler.name: all_levels(PROFILES[name], SCHEDULE, sampler, "karras", 6)
            for sampler in SAMPLERS.values()
        }
        assert {len(sigmas) for sigmas in found.values()} == {7}
        return {sampler for sampler, sigmas in found.items() if sigmas[-2] > 0.03}

    assert discarded("comfyui") == {"dpm2", "dpm2_ancestral", "unipc", "unipc_bh2"}
    for name in (None, "a1111", "diffusers"):
        assert discarded(name) == {"dpm2", "dpm2_ancestral", "dpmpp_3m_sde"}


@pytest.mark.parametrize("name", PROFILES)
def test_where_the_last_step_leads_to_the_first_training_step(name):
    ends = {s.name for s in SAMPLERS.values() if PROFILES[name].program in s.ends_at_sigma_min}
    theirs = set() if name in (None, "comfyui") else {"ddim", "plms"}
    theirs |= {"dpmpp_2m"} if name == "compvis" else set()
    theirs |= {"tcd"} if name in (None, "diffusers") else set()
    assert ends == theirs | {"dpm_solver"}


@pytest.mark.parametrize(
    ("name", "sampler", "changes"),
    [(None, "euler", 15), (None, "heun", 15), ("a1111", "euler", 20), ("a1111", "heun", 40)],
)
def test_changes_of_a_prompt_go_by_steps_or_by_calls(tiny, name, sampler, changes):
    """By the 15 steps that run, or by the calls of all 20 that were asked for."""
    picture = Image.new("RGB", (16, 16))
    request = Request(steps=20, strength=0.74, sampler=sampler, compat=name)
    assert tiny.resolve(request, picture).passes[0].changes == changes


def test_only_compviss_batches_share_a_stream(tiny):
    """Each step draws, though nothing is added without eta; PLMS's first step twice."""
    assert [name for name, profile in PROFILES.items() if profile.one_stream] == ["compvis"]

    def made(sampler):
        return draws(tiny.resolve(Request(steps=20, sampler=sampler, compat="compvis")))

    assert [made(sampler) for sampler in ("ddim", "plms", "euler")] == [21, 22, 1]
