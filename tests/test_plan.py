"""What a request means: the limits of the number of steps, and what can be said before there is a model."""

from dataclasses import replace
from itertools import pairwise

import pytest

from ldm.plan import check, noise_levels, settle
from ldm.request import Request
from ldm.samplers import SAMPLERS, SCHEDULES


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("sampler", ["euler", "dpm2"])
def test_near_the_number_of_training_steps_levels_never_repeat(tiny_family, sampler, schedule):
    """Where there are not so many, that is said. dpm2 asks for one more than it takes, `leading` begins at 1,
    `sgm_linspace` leaves out 0."""
    request = settle(Request(sampler=sampler, schedule=schedule), tiny_family, None)
    whole = schedule in ("linspace", "sgm_linspace", "leading", "trailing", "simple")  # training steps
    most = (1000 if whole else 1001) - (sampler == "dpm2") - (schedule in ("leading", "sgm_linspace"))
    for steps in (501, 999, 1000):
        wanted = replace(request, steps=steps)
        if steps > most:
            with pytest.raises(ValueError, match=f"{steps} steps are more than {schedule} has different levels for"):
                noise_levels(wanted, tiny_family)
        else:
            sigmas = noise_levels(wanted, tiny_family)
            assert all(a > b for a, b in pairwise(sigmas))
            assert len(sigmas) == steps + 1 or schedule in ("ddim_uniform", "ddim_clipped")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"compat": "automatic1111"}, "unknown program 'automatic1111'"),
        ({"emphasis": "A1111"}, "unknown emphasis 'A1111'; did you mean 'a1111'"),
        ({"sampler": "euler b"}, "unknown sampler 'euler b'"),
        ({"schedule": "kerras"}, "unknown schedule 'kerras'; did you mean 'karras'"),
    ],
)
def test_names_are_checked_before_there_is_a_model(options, message):
    with pytest.raises(ValueError, match=message):
        check(Request(**options))


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
    settled = settle(request, tiny_family, None)
    assert (settled.sampler, settled.schedule) == found


def test_options_of_samplers(tiny_family):
    check(Request(sampler="heun", s_churn=4, s_tmin=0.1, s_tmax=9, s_noise=1.01))
    check(Request(sampler="heun", eta=0))
    with pytest.raises(ValueError, match="sampler 'dpmpp_2m' takes no s_churn: leave it out, or take one of euler"):
        check(Request(sampler="dpmpp_2m", s_churn=0))
    with pytest.raises(ValueError, match="skip and ensd are about the noise of another program"):
        check(Request(ensd=31337))


def test_levels_that_end_in_pure_noise(tiny_family):
    request = settle(Request(sampler="euler", schedule="trailing", steps=5, zero_snr=True), tiny_family, None)
    assert noise_levels(request, tiny_family)[0] == pytest.approx(4518.8, abs=0.1)


def test_settling_twice_changes_nothing(tiny_family):
    for word in (None, "a1111", "comfyui", "diffusers", "compvis"):
        for sampler in SAMPLERS:
            once = settle(Request("a {red|blue} cat", sampler=sampler, compat=word, count=3), tiny_family, None)
            assert settle(once, tiny_family, None) == once
