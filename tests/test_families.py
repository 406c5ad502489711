"""Families: data that must make sense, to and from JSON."""

import json
from dataclasses import replace

import pytest

from ldm.models.families import FAMILIES, SD1, Family, family_named

WITH_HEAD_WIDTH = replace(SD1, unet=replace(SD1.unet, heads=None, head_width=40), prediction="v")


@pytest.mark.parametrize(
    "family", [*FAMILIES.values(), WITH_HEAD_WIDTH], ids=lambda family: family.prediction
)
def test_json_round_trip(family):
    again = Family.from_dict(json.loads(json.dumps(family.to_dict())))
    assert again == family
    assert hash(again) == hash(family)  # tuples have come back as tuples


def test_names():
    assert {name: family.name for name, family in FAMILIES.items()} == {
        name: name for name in FAMILIES
    }


def test_sd1_noise():
    schedule = SD1.noise_schedule()
    assert len(schedule) == 1000
    assert schedule.sigma_min == pytest.approx(0.029167, abs=1e-6)
    assert schedule.sigma_max == pytest.approx(14.614641, abs=1e-5)


def part_of(values, path):
    """The part at "unet" or "text.0" of a family's values; they themselves at ""."""
    for step in path.split(".") if path else ():
        values = values[int(step) if step.isdigit() else step]
    return values


@pytest.mark.parametrize("part", ["", "text.0", "unet", "vae"])
def test_fields_must_be_complete_and_known(part):
    may_be_absent = {"conditioning", "zero_snr"}
    may_be_absent |= {"strength", "upscale_strength", "hires_strength", "img2img_scale"}
    may_be_absent |= {"hires_upscaler", "outpaint_blur"}
    may_be_absent |= {"classes", "guidance_width", "only_cross_attention", "up_depth"}
    may_be_absent |= {"edm", "mean", "std", "vision"}
    for name in part_of(SD1.to_dict(), part).keys() - may_be_absent:
        values = SD1.to_dict()
        del part_of(values, part)[name]
        with pytest.raises(ValueError, match=f"lacks the field '{name}'"):
            Family.from_dict(values)
    values = SD1.to_dict()
    part_of(values, part)["colour"] = 1
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
        ("size", 0),
        ("guidance_scale", "7.5"),
        ("guidance_scale", float("nan")),
        ("guidance_scale", None),
        ("prediction", "x1"),
        ("prediction", ["eps"]),
        ("text", []),
        ("text", 3),
        ("unet", None),
        ("unet", [4, 4]),
        ("unet.channels", 320),
        ("unet.channels", []),
        ("unet.channels", [320, "640", 1280, 1280]),
        ("unet.depth", [True, True, True, False]),
        ("unet.depth", [1, 1, 1, -1]),
        ("unet.mid_depth", -1),
        ("unet.up_depth", [1, 1]),
        ("conditioning", ["mask"]),
        ("unet.concat_channels", None),
        ("unet.vector_width", 0),
        ("unet.linear_projection", 0),
        ("vae.scale", "0.18"),
        ("text.0.activation", "relu"),
        ("text.0.final_norm", 1),
        ("text.0.layer", 0),
        ("text.0.pad", -1),
        ("text.0.projection", 0),
    ],
)
def test_values_of_the_wrong_type_are_named(path, value):
    values = SD1.to_dict()
    part, _, name = path.rpartition(".")
    part_of(values, part)[name] = value
    with pytest.raises(ValueError, match=rf"family\.{path}"):
        Family.from_dict(values)


WRITTEN_BY_0_1 = {
    "name": "sd1",
    "text": {
        "vocabulary": 49408, "length": 77, "width": 768, "layers": 12, "heads": 12,
        "activation": "quick_gelu",
    },
    "unet": {
        "in_channels": 4, "out_channels": 4, "channels": [320, 640, 1280, 1280], "res_blocks": 2,
        "groups": 32, "attention": [True, True, True, False], "context_width": 768, "heads": 8,
        "head_width": None, "depth": 1, "linear_projection": False,
    },
    "vae": {
        "image_channels": 3, "latent_channels": 4, "channels": [128, 256, 512, 512],
        "res_blocks": 2, "groups": 32, "scale": 0.18215,
    },
    "beta_start": 0.00085, "beta_end": 0.012, "train_steps": 1000, "prediction": "eps",
    "size": 512, "steps": 50, "scale": 7.5, "sampler": "ddim", "schedule": "leading",
}  # fmt: skip


def test_families_of_version_0_1_are_read():
    before = json.dumps(WRITTEN_BY_0_1)
    assert Family.from_dict(WRITTEN_BY_0_1) == SD1
    assert json.dumps(WRITTEN_BY_0_1) == before
    unet = {**WRITTEN_BY_0_1["unet"], "depth": 2, "attention": [False, True, False, True]}
    family = Family.from_dict({**WRITTEN_BY_0_1, "unet": unet})
    assert (family.unet.depth, family.unet.mid_depth) == ((0, 2, 0, 2), 2)


@pytest.mark.parametrize(
    ("part", "value"),
    [("text", None), ("text", {}), ("unet", None), ("unet", {}), ("unet", {"attention": 3})],
)
def test_damaged_families_of_version_0_1_are_refused(part, value):
    with pytest.raises(ValueError, match=f"family.{part}"):
        Family.from_dict({**WRITTEN_BY_0_1, part: value})


def test_a_family_is_named_or_described_in_a_file(tmp_path):
    assert family_named("sd1") is SD1
    path = tmp_path / "mine.json"
    path.write_text(json.dumps(WITH_HEAD_WIDTH.to_dict()))
    assert family_named(path) == family_named(str(path)) == WITH_HEAD_WIDTH
    with pytest.raises(ValueError, match=r"sd9 is no family \(sd1, .*\) and no JSON file"):
        family_named("sd9")
    path.write_text("{}")
    with pytest.raises(ValueError, match=r"mine\.json does not describe a family: .*lacks"):
        family_named(path)


TOWER = replace(SD1.text[0], width=1280, heads=20, mlp_width=5120, layers=32)


def test_the_widths_of_two_towers_add_up():
    unet = replace(SD1.unet, context_width=2048)
    assert replace(SD1, text=(SD1.text[0], TOWER), unet=unet).text[1] == TOWER
    with pytest.raises(ValueError, match="texts 768 wide; they are 2048"):
        replace(SD1, text=(SD1.text[0], TOWER))


def tower(**change):
    return {"text": (replace(SD1.text[0], **change),)}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (tower(width=1024, heads=16), "texts 768 wide; they are 1024"),
        ({"vae": replace(SD1.vae, latent_channels=8)}, "4 channels, the VAE has 8"),
        ({"unet": replace(SD1.unet, in_channels=9)}, "in_channels are 9, a latent has 4"),
        (tower(heads=5), "must divide"),
        (tower(layer=13), "layer 13 and pad None must be among"),
        (tower(pad=49408), "layer 1 and pad 49408 must be among"),
        ({"unet": replace(SD1.unet, heads=7)}, "must divide"),
        ({"unet": replace(SD1.unet, depth=(0, 0, 0, 0), mid_depth=1, heads=7)}, "must divide"),
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
