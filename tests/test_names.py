"""Samplers and schedules by the names of other programs."""

import doctest

import ldm.compat.names
from ldm.compat.names import method_named, sampler_named, schedule_named
from ldm.samplers import SAMPLERS, SCHEDULES


def test_doctests():
    assert doctest.testmod(ldm.compat.names) == (0, 2)


def test_every_sampler_and_schedule_is_found_by_its_label():
    for name, sampler in SAMPLERS.items():
        assert (
            sampler_named(sampler.label)
            == sampler_named(sampler.label.lower())
            == sampler_named(name)
            == name
        )
    for name in SCHEDULES:
        assert schedule_named(name.replace("_", " ").title()) == schedule_named(name) == name
    assert schedule_named("DDIM") == "ddim_uniform"
    assert (sampler_named(""), schedule_named("")) == (None, None)


def test_names_of_k_diffusion_and_of_the_web_ui_before_schedules_had_names():
    for name in ("dpm_2", "sample_dpm_2", "DPM2"):
        assert sampler_named(name) == "dpm2"
    for name, sampler in SAMPLERS.items():
        assert method_named(sampler.label) == (name, None)
        assert method_named(f"{sampler.label} Karras") == (name, "karras")
