"""Families: data that must make sense, to and from JSON."""

import json
from dataclasses import fields, replace

import pytest

from ldm.families import FAMILIES, SD1, Family

WITH_HEAD_WIDTH = replace(SD1, unet=replace(SD1.unet, heads=None, head_width=40), prediction="v")


@pytest.mark.parametrize("family", [*FAMILIES.values(), WITH_HEAD_WIDTH], ids=lambda family: family.prediction)
def test_json_round_trip(family):
    again = Family.from_dict(json.loads(json.dumps(family.to_dict())))
    assert again == family
    assert hash(again) == hash(family)  # tuples have come back as tuples


def test_names():
    assert {name: family.name for name, family in FAMILIES.items()} == {name: name for name in FAMILIES}


def test_sd1_noise():
    schedule = SD1.noise_schedule()
    assert len(schedule) == 1000
    assert schedule.sigma_min == pytest.approx(0.029167, abs=1e-6)
    assert schedule.sigma_max == pytest.approx(14.614641, abs=1e-5)


@pytest.mark.parametrize("part", ["", "text", "unet", "vae"])
def test_fields_must_be_complete_and_known(part):
    inside = SD1 if part == "" else getattr(SD1, part)
    for field in fields(inside):
        values = SD1.to_dict()
        del (values if part == "" else values[part])[field.name]
        with pytest.raises(ValueError, match=f"lacks the field '{field.name}'"):
            Family.from_dict(values)
    values = SD1.to_dict()
    (values if part == "" else values[part])["colour"] = 1
    with pytest.raises(ValueError, match="no field 'colour'"):
        Family.from_dict(values)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("name", 3),
        ("size", 512.0),
        ("size", "512"),
        ("size", True),
        ("size", -512),
        ("scale", "7.5"),
        ("scale", float("nan")),
        ("scale", None),
        ("prediction", "x0"),
        ("prediction", ["eps"]),
        ("unet", None),
        ("unet", [4, 4]),
        ("unet.channels", 320),
        ("unet.channels", []),
        ("unet.channels", [320, "640", 1280, 1280]),
        ("unet.attention", [1, 1, 1, 0]),
        ("unet.linear_projection", 0),
        ("vae.scale", "0.18"),
        ("text.activation", "relu"),
    ],
)
def test_values_of_the_wrong_type_are_named(path, value):
    values = SD1.to_dict()
    part, _, name = path.rpartition(".")
    (values[part] if part else values)[name] = value
    with pytest.raises(ValueError, match=rf"family\.{path}"):
        Family.from_dict(values)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"text": replace(SD1.text, width=1024, heads=16)}, "texts 768 wide, but they are 1024"),
        ({"vae": replace(SD1.vae, latent_channels=8)}, "4 channels, the VAE has 8"),
        ({"text": replace(SD1.text, heads=5)}, "must divide"),
        ({"unet": replace(SD1.unet, heads=7)}, "must divide"),
        ({"unet": replace(SD1.unet, heads=None, head_width=2000)}, "must divide"),
        ({"beta_start": 0.5}, "must rise"),
        ({"beta_end": 1.5}, "must rise"),
        ({"train_steps": 1}, "2 to 100000"),
        ({"train_steps": 10**12}, "2 to 100000"),
        ({"sampler": "magic"}, "'magic' is unknown: choose one of .*euler"),
        ({"schedule": "magic"}, "'magic' is unknown: choose one of .*karras"),
    ],
)
def test_what_does_not_go_together(change, message):
    with pytest.raises(ValueError, match=message):
        replace(SD1, **change)
