"""Every family from layout to layout, bit for bit."""

import json
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file

from ldm.models.unread import without_unread_layers
from ldm.models.weights import CheckpointError, read, save
from ldm.models.weights.saving import renamed
from tiny_families import SMALL, random_model


def numbers(checkpoint):
    return renamed(checkpoint, "ldm")


def assert_same(one, other):
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("name", SMALL)
def test_layouts(name, tmp_path):
    family = SMALL[name]
    model = random_model(family)
    paths = [tmp_path / "a.safetensors", tmp_path / "b.safetensors", tmp_path / "folder"]
    for path, layout in zip(paths, ("ldm", "compvis", "diffusers")):
        save(path, model, layout)
        model = read(path)
    unread = family.text[0].layer == 2 and family.text[0].final_norm  # SD 2's last layer
    left_out = "text.layers.2." if unread else "none"
    original = numbers(random_model(family))
    kept = {name: x for name, x in original.items() if not name.startswith(left_out)}
    assert (len(kept) < len(original)) == unread
    assert_same(numbers(model), kept)
    assert (model.family.unet, model.family.vae) == (family.unet, family.vae)
    assert model.family.text == without_unread_layers(family).text
    assert model.family.conditioning == family.conditioning
    assert (model.family.prediction, model.family.zero_snr) == (family.prediction, family.zero_snr)
    assert (model.family.size, model.family.beta_end) == (family.size, family.beta_end)
    for path, layout in zip(paths, ("ldm", "compvis", "diffusers")):  # and back from the folder
        save(path, model, layout)
        assert_same(numbers(read(path)), kept)


@pytest.mark.parametrize("name", SMALL)
def test_files_of_other_programs_say_nothing_of_their_family(name, tmp_path):
    family = SMALL[name]
    model = random_model(family)
    save(tmp_path / "a.safetensors", model, "compvis")
    merges = "\n".join(map(" ".join, model.merges))
    save_file(load_file(tmp_path / "a.safetensors"), tmp_path / "b.safetensors", {"merges": merges})
    assert_same(numbers(read(tmp_path / "b.safetensors", family=family)), numbers(model))


@pytest.mark.parametrize("name", ["sd1", "sd2-v", "sdxl", "sdxl-refiner", "x4-upscaler"])
def test_a_folder_of_ours_says_its_family_and_how_it_is_used(name, tmp_path):
    """Which no config of diffusers does; not what the folder is called."""
    usage = {"steps": 7, "guidance_scale": 2.5, "sampler": "dpmpp_sde", "schedule": "karras"}
    family = replace(SMALL[name], name="mine", **usage, strength=0.4, img2img_scale=3.0)
    save(tmp_path / "other", random_model(family), "diffusers")
    found = read(tmp_path / "other").family
    own = {*usage, "name", "strength", "img2img_scale", "hires_strength", "upscale_strength"}
    assert {field: getattr(found, field) for field in own} == {
        field: getattr(family, field) for field in own
    }


@pytest.mark.parametrize("value", [3, {"steps": "x"}, {"steps": 0}, {"name": 3}, "name", None])
def test_a_folder_that_says_it_wrongly(value, tmp_path):
    save(tmp_path / "a", random_model(SMALL["sd1"]), "diffusers")
    index = tmp_path / "a/model_index.json"
    index.write_text(json.dumps(json.loads(index.read_text()) | {"_ldm": value}))
    with pytest.raises(CheckpointError, match="a has configs that cannot be: "):
        read(tmp_path / "a")


def test_a_folder_that_says_nothing_is_called_as_it_is(tmp_path):
    save(tmp_path / "a", random_model(SMALL["sd1"]), "diffusers")
    index = tmp_path / "a/model_index.json"
    index.write_text(json.dumps({**json.loads(index.read_text()), "_ldm": {}}))
    assert read(tmp_path / "a").family.name == "a"
