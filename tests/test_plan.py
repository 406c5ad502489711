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
    """Where there are not so many, that is said. dpm2 asks for one more than it takes, `leading` begins at 1."""
    request = settle(Request(sampler=sampler, schedule=schedule), tiny_family, None)
    whole = schedule in ("linspace", "leading", "trailing", "simple")  # training steps
    most = (1000 if whole else 1001) - (sampler == "dpm2") - (schedule == "leading")
    for steps in (501, 999, 1000):
        wanted = replace(request, steps=steps)
        if steps > most:
            with pytest.raises(ValueError, match=f"{steps} steps are more than {schedule} has different levels for"):
                noise_levels(wanted, tiny_family)
        else:
            sigmas = noise_levels(wanted, tiny_family)
            assert all(a > b for a, b in pairwise(sigmas))
            assert len(sigmas) == steps + 1 or schedule == "ddim_uniform"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"compat": "automatic1111"}, "unknown program 'automatic1111'"),
        ({"emphasis": "A1111"}, "unknown emphasis 'A1111'; did you mean 'a1111'"),
        ({"sampler": "euler a"}, "unknown sampler 'euler a'"),
        ({"schedule": "kerras"}, "unknown schedule 'kerras'; did you mean 'karras'"),
    ],
)
def test_names_are_checked_before_there_is_a_model(options, message):
    with pytest.raises(ValueError, match=message):
        check(Request(**options))


def test_settling_twice_changes_nothing(tiny_family):
    for word in (None, "a1111", "comfyui", "diffusers", "compvis"):
        for sampler in SAMPLERS:
            once = settle(Request("a {red|blue} cat", sampler=sampler, compat=word, count=3), tiny_family, None)
            assert settle(once, tiny_family, None) == once
