"""Files that no known family describes: what their shapes tell, and a family to start from."""

import json
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file

from ldm.models.families import FAMILIES, family_named
from ldm.models.weights import CheckpointError, inspect, read, save
from ldm.models.weights.saving import renamed
from ldm.models.weights.sizes import nearest
from tiny_families import SMALL, random_model


@pytest.fixture(params=["sd1", "sdxl", "ssd-1b", "bk-sdm-small", "x4-upscaler", "sd2-depth"])
def odd(request, tmp_path):
    """A model of odd sizes, in a file that does not say what it is."""
    model = random_model(SMALL[request.param])
    path = tmp_path / "odd.safetensors"
    save(path, model, "compvis")
    save_file(load_file(path), path, {"merges": "\n".join(map(" ".join, model.merges))})
    return path, model, request.param


def test_a_family_to_start_from_is_printed(odd, run, tmp_path):
    path, model, name = odd
    code, out, _ = run(f"inspect {path} --family_json", ckpt=False)
    assert code == 0
    found = json.loads(out)
    (tmp_path / "mine.json").write_text(json.dumps(found))
    family = family_named(tmp_path / "mine.json")
    assert nearest(family)[0].name == name
    known = model.family
    unet = replace(family.unet, heads=known.unet.heads, head_width=known.unet.head_width)
    assert replace(unet, groups=8) == known.unet  # what no shape tells
    assert replace(family.vae, groups=8) == known.vae
    again = read(path, family=tmp_path / "mine.json")
    mine, yours = renamed(model, "ldm"), renamed(again, "ldm")
    assert mine.keys() == yours.keys()
    assert all((mine[key] == yours[key]).all() for key in mine)
    assert inspect(path, family=tmp_path / "mine.json").loadable


def test_how_near_a_file_is_and_what_differs_is_said(odd):
    path, _, name = odd
    assert inspect(path).kind.family is None
    with pytest.raises(CheckpointError) as error:
        read(path)
    for said in (str(inspect(path)), str(error.value)):
        assert f"like {name}, but text.0.vocabulary is 517, not 49408" in said
        assert "--family" in said


def test_the_family_of_a_file_that_is_known_is_printed(tiny_file, run):
    _, out, _ = run(f"inspect {tiny_file} --family_json", ckpt=False)
    assert json.loads(out)["name"] == "tiny"


def test_a_file_that_is_like_nothing_is_refused(run, tmp_path):
    save_file({"a": torch.zeros(1)}, tmp_path / "a.safetensors")
    code, out, error = run("inspect a.safetensors --family_json", ckpt=False)
    assert (code, out) == (2, "")
    assert "like no family" in error


def test_known_families_differ():
    for family in FAMILIES.values():
        assert nearest(family) == (family, [])
