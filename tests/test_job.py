"""What a request means to a model: every default filled, the limits of the number of steps, and
what can be said before anything runs."""

from itertools import pairwise

import pytest

from helpers import PICTURE, levels, random_picture
from ldm.compat.profiles import PROFILES
from ldm.metadata import texts
from ldm.pipeline.job import resolve
from ldm.pipeline.passes import check, takes
from ldm.request import Request
from ldm.samplers import SAMPLERS, SCHEDULES

SMALL = random_picture(16, 16)


# Defaults


def test_defaults_are_the_familys(tiny):
    job = tiny.resolve(Request("a cat"))
    assert job.init is None
    assert job.request == Request(
        "a cat",
        steps=4,
        sampler="euler",
        schedule="karras",
        guidance_scale=3.0,
        hires_strength=0.7,
        hires_upscaler="latent",
        width=16,
        height=16,
        prompt_syntax="a1111",
    )
    job = tiny.resolve(Request("a cat", guidance_scale=0), PICTURE)
    found = job.request
    assert (found.guidance_scale, found.strength, found.width, found.height) == (0, 0.75, 20, 16)
    assert tiny.resolve(found, PICTURE).request == found


def test_metadata_say_how_to_draw_the_picture_again(tiny):
    request = tiny.resolve(Request("a cat, sitting", sampler="euler", seed=3)).request
    text = texts(request, tiny.name)
    assert Request.from_json(text["ldm"]) == request
    assert text["parameters"] == (
        "a cat, sitting\nSteps: 4, Sampler: Euler, Schedule type: Karras, CFG scale: 3, Seed: 3, "
        "Size: 16x16, Model: tiny, RNG: CPU"
    )


def test_the_schedule_goes_with_the_sampler(tiny):
    for sampler, schedule, found in (
        (None, None, "karras"),
        ("euler", None, "karras"),
        ("euler", "automatic", SAMPLERS["euler"].schedule),
        ("ddim", None, SAMPLERS["ddim"].schedule),
        ("ddim", "exponential", "exponential"),
        (None, "exponential", "exponential"),
    ):
        job = tiny.resolve(Request(sampler=sampler, schedule=schedule))
        assert job.request.schedule == found


@pytest.mark.parametrize(
    ("sampler", "schedule", "found"),
    [
        ("Euler a", None, ("euler_ancestral", "uniform")),
        ("sample_dpm_2", "SGM Uniform", ("dpm2", "sgm_uniform")),
        ("DPM++ 2M SDE Heun Karras", None, ("dpmpp_2m_sde_heun", "karras")),
        ("DPM++ 2M Karras", "exponential", ("dpmpp_2m", "exponential")),
        ("uni_pc_bh2", "Automatic", ("unipc_bh2", "leading")),
    ],
)
def test_other_programs_names_of_samplers_and_schedules(tiny_family, sampler, schedule, found):
    request = Request(sampler=sampler, schedule=schedule)
    check(request)
    job = resolve(request, tiny_family)
    assert (job.request.sampler, job.request.schedule) == found
    assert job.passes[0].sampler is SAMPLERS[found[0]]


def test_a_pass_says_what_is_sampled(tiny):
    request = Request(
        steps=6, sampler="heun", s_churn=4, s_noise=1.01, width=24, seed_resize_from=(16, 32)
    )
    (only,) = tiny.resolve(request).passes
    assert only.sampler is SAMPLERS["heun"]
    assert only.options == {"s_churn": 4, "s_noise": 1.01}
    assert list(only.sigmas) == levels(tiny, steps=6, sampler="heun")
    assert (only.steps, len(only.sigmas)) == (6, 7)
    assert (only.width, only.height, only.resize_from) == (24, 16, (16, 32))
    assert (only.changes, only.earlier) == (6, 0)


def test_a_job_knows_its_pictures(tiny):
    job = tiny.resolve(Request(["a", "b"], ["x", "y"], seed=7, count=2, steps=3, hires=2))
    assert job.seeds == range(7, 11)
    assert job.prompts == ("a", "b", "a", "b")
    assert job.negatives == ("x", "y", "x", "y")
    assert (job.steps, job.size) == (3 + 2, (32, 32))
    first, second = job.split(3)
    assert (first.seeds, second.seeds) == (range(7, 10), range(10, 11))
    assert (first.prompts, second.negatives) == (("a", "b", "a"), ("y",))
    assert first.passes is second.passes is job.passes
    assert job.split(4) == [job]
    outpainted = tiny.resolve(Request(left=4, bottom=7), PICTURE)
    assert outpainted.size == (26, 26)  # of the whole picture


# Nothing is left open, and resolving again changes nothing

NEEDED = ("steps", "sampler", "schedule", "guidance_scale", "prompt_syntax", "width", "height")
REQUESTS = [
    ({}, False),
    ({"prompt": "a {red|blue} cat", "count": 3}, False),
    ({"prompt": ("a cat", "a dog"), "negative": ("x", "{y|z}")}, False),
    ({"sampler": "DPM++ 2M Karras", "steps": 7}, False),
    ({"sampler": "Euler a", "schedule": "automatic", "eta": 0.5}, False),
    ({"schedule": "SGM Uniform", "guidance_scale": 0}, False),
    ({"hires": 1.6, "hires_steps": 5, "width": 24}, False),
    ({"hires": 2, "hires_upscaler": "pixels", "tile": 16}, False),
    ({"seed_resize_from": (24, 8), "subseed_strength": 0.3, "subseed": 4}, False),
    ({"zero_snr": True, "schedule": "trailing", "seamless": "x"}, False),
    ({"strength": 0.4, "full_steps": True}, True),
    ({"strength": 0, "color_correction": True, "sampler": "ddim"}, True),
    ({"upscale": 2.5}, True),
    ({"left": 4, "masked_content": "fill", "mask_blur": 2}, True),
]


@pytest.mark.parametrize("name", PROFILES)
@pytest.mark.parametrize(("options", "from_picture"), REQUESTS, ids=str)
def test_resolving_leaves_nothing_open_and_twice_is_once(tiny_family, name, options, from_picture):
    image = SMALL if from_picture else None
    job = resolve(Request(**options, compat=name), tiny_family, image)
    assert all(getattr(job.request, field) is not None for field in NEEDED)
    assert (job.request.strength is not None) == from_picture
    assert job.request.sampler in SAMPLERS
    assert job.request.schedule in SCHEDULES
    asked = job.request.guidance_scale
    assert job.guidance_scale == (max(asked, 1) if name == "diffusers" else asked)
    assert job.prompt_syntax == job.request.prompt_syntax
    again = resolve(job.request, tiny_family, image)
    assert again.request == job.request
    assert again.passes == job.passes
    assert again.profile is job.profile is PROFILES[name]


def test_with_every_sampler_resolving_twice_is_once(tiny_family):
    for name in PROFILES:
        for sampler in SAMPLERS:
            asked = Request("a {red|blue} cat", sampler=sampler, compat=name, count=3)
            once = resolve(asked, tiny_family)
            again = resolve(once.request, tiny_family)
            assert (again.request, again.passes) == (once.request, once.passes)


# What cannot be


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("sampler", ["euler", "dpm2"])
def test_near_the_number_of_training_steps_levels_never_repeat(tiny, sampler, schedule):
    """Where there are not so many, that is said. dpm2 asks for one more than it takes, `leading`
    begins at 1, `sgm_linspace` leaves out 0."""
    whole = schedule in ("linspace", "sgm_linspace", "leading", "trailing", "simple")  # in t
    whole = whole or schedule in ("lcm", "turbo", "dmd2", "hyper_sd")
    most = 1000 if whole else 1001
    most -= (sampler == "dpm2") + (schedule in ("leading", "sgm_linspace"))
    for steps in (501, 999, 1000):
        wanted = {"sampler": sampler, "schedule": schedule, "steps": steps}
        if steps > most:
            what = f"{steps} steps are more than {schedule} has different levels for"
            with pytest.raises(ValueError, match=what):
                levels(tiny, **wanted)
        else:
            sigmas = levels(tiny, **wanted)
            assert all(a > b for a, b in pairwise(sigmas))
            if schedule == "beta":  # takes a training step once that several quantiles fall on
                assert len(sigmas) < steps
            else:
                assert len(sigmas) == steps + 1 or schedule in ("ddim_uniform", "ddim_clipped")


def test_levels_that_end_in_pure_noise(tiny):
    sigmas = levels(tiny, sampler="euler", schedule="trailing", steps=5, zero_snr=True)
    assert sigmas[0] == pytest.approx(4518.8, abs=0.1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"compat": "automatic1111"}, "unknown program 'automatic1111'"),
        ({"prompt_syntax": "A1111"}, "unknown prompt_syntax 'A1111'; did you mean 'a1111'"),
        ({"sampler": "euler b"}, "unknown sampler 'euler b'"),
        (
            {"guidance_interval": (5, 1)},
            "guidance_interval is low, high, and 5 is above 1: give 1, 5",
        ),
        ({"schedule": "kerras"}, "unknown schedule 'kerras'; did you mean 'karras'"),
    ],
)
def test_names_are_checked_before_there_is_a_model(options, message):
    with pytest.raises(ValueError, match=message):
        check(Request(**options))


def test_options_of_samplers():
    check(Request(sampler="heun", s_churn=4, s_tmin=0.1, s_tmax=9, s_noise=1.01))
    check(Request(sampler="heun", eta=0))
    what = "sampler 'dpmpp_2m' takes no s_churn: leave it out, or take one of euler"
    with pytest.raises(ValueError, match=what):
        check(Request(sampler="dpmpp_2m", s_churn=0))
    with pytest.raises(ValueError, match="noise_offset and ensd are about the noise of another"):
        check(Request(ensd=31337))
    assert takes("ddim", "eta")
    assert not takes("euler", "eta")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sampler": "eular"}, "unknown sampler 'eular'; did you mean 'euler'"),
        ({"schedule": "caras"}, "unknown schedule 'caras'; did you mean 'karras'"),
        ({"width": 17}, "17 pixels does not fit this model: give a multiple of 2"),
        ({"height": 1}, "1 pixels does not fit this model: give a multiple of 2"),
        ({"tile": 18}, "18 pixels does not fit this model: give a multiple of 4"),
        ({"strength": 0.5}, "needs an image"),
        ({"eta": 0.5}, "sampler 'euler' takes no eta: leave it out, or take one of .*ddim"),
    ],
)
def test_impossible_requests_are_refused_before_anything_runs(tiny, options, message):
    with pytest.raises(ValueError, match=message):
        tiny.steps(Request("a cat", **options))
