"""Files as people bring them: odd values, texts of other kinds, and damage. Each can be shown, and
drawn as far as it is understood."""

import json
from pathlib import Path

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from ldm.images.exif import EXIF_IFD, USER_COMMENT
from ldm.metadata import comfyui, read_metadata
from ldm.metadata.reading import READERS

GRAPH = (Path(__file__).parent / "data/metadata/comfyui-default.json").read_text()
DRAWING = (Path(__file__).parent / "data/metadata/comfyui-workflow.json").read_text()
SETTINGS = "Steps: 5, Sampler: Euler, CFG scale: 3, Seed: 1, Size: 64x64"


def infotext(more, prompt="a", settings=SETTINGS):
    return READERS["parameters"]({"parameters": f"{prompt}\n{settings}{more}"})


def graph(change=None, **inputs):
    """What is read of the default graph, its sampler's inputs changed."""
    nodes = json.loads(GRAPH)
    nodes["3"]["inputs"] |= inputs
    return comfyui.read({"prompt": json.dumps(nodes | (change or {}))})


def png(path, key, text):
    info = PngInfo()
    info.add_text(key, text)
    Image.new("RGB", (8, 8)).save(path, pnginfo=info)
    return path


def jpg(path, comment):
    exif = Image.Exif()
    exif.get_ifd(EXIF_IFD)[USER_COMMENT] = comment
    Image.new("RGB", (8, 8)).save(path, exif=exif)
    return path


# Texts of other kinds


@pytest.mark.parametrize(
    ("text", "program"),
    [
        ({"sui_image_params": {"prompt": "a cat", "steps": 20}}, "SwarmUI"),
        ({"base_model": "x", "prompt": "a cat", "metadata_scheme": "fooocus"}, "Fooocus"),
        ({"Steps: ": 3}, "another program"),
    ],
)
def test_json_of_other_programs_is_no_prompt(tmp_path, text, program):
    comment = b"UNICODE\0" + json.dumps(text).encode("utf-16-be")
    for path in (
        png(tmp_path / "x.png", "parameters", json.dumps(text)),
        jpg(tmp_path / "x.jpg", comment),
    ):
        with pytest.raises(ValueError, match=f"it is JSON of {program}, which cannot be read"):
            read_metadata(path)


@pytest.mark.parametrize("nested", [False, True])
def test_a_graph_in_a_comment_is_comfyuis(tmp_path, nested):
    nodes = json.loads(GRAPH)
    text = {"prompt": nodes} if nested else {**nodes, "extra": {"airs": []}, "extraMetadata": "{}"}
    found = read_metadata(jpg(tmp_path / "x.jpg", b"ASCII\0\0\0" + json.dumps(text).encode()))
    assert (found.program, found.request.seed) == ("ComfyUI", 156680208700286)


@pytest.mark.parametrize(
    "comment", [b"ASCII\0\0\0Screenshot", bytes(8) + b"   ", bytes(64), 7, (1, 2), "Screenshot"]
)
def test_a_comment_without_settings_says_nothing(tmp_path, comment):
    with pytest.raises(ValueError, match="says nothing about its making"):
        read_metadata(jpg(tmp_path / "x.jpg", comment))


def test_a_prompt_may_begin_with_a_bracket(tmp_path):
    text = "{red|blue} star\nSteps: 5, Sampler: Euler, Seed: 3"
    found = read_metadata(png(tmp_path / "x.png", "parameters", text))
    assert (found.request.prompt, found.request.steps) == ("{red|blue} star", 5)


def test_a_text_that_cannot_be_read_does_not_hide_one_that_can(tmp_path):
    path, info = tmp_path / "x.png", PngInfo()
    info.add_text("prompt", "a cat")
    info.add_text("parameters", f"a cat\n{SETTINGS}")
    Image.new("RGB", (8, 8)).save(path, pnginfo=info)
    assert read_metadata(path).request.steps == 5


# Odd values


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ("Seed: -1", "Seed"),
        ("Steps: many", "Steps"),
        ("Steps: 0", "Steps"),
        ("CFG scale: nan", "CFG scale"),
        ("Clip skip: 0", "Clip skip"),
        ("Hires upscale: 0", "Hires upscale"),
        ("Variation seed: -1", "Variation seed"),
        ("ENSD: -1", "ENSD"),
        ("Seed resize from: -1x-1", "Seed resize from"),
        ("Size: big", "Size"),
        ("RNG: dice", "RNG"),
    ],
)
def test_a_setting_that_no_request_takes_is_told_and_the_rest_is_drawn(settings, name):
    found = infotext("", settings=f"{SETTINGS}, {settings}")
    assert found.unsupported.keys() == {name}
    assert found.unsupported[name].startswith(settings.partition(": ")[2] + ": ")
    assert found.request.prompt == "a"
    assert found.request.sampler == "euler"


def test_no_steps_of_the_second_pass_are_as_many_as_of_the_first():
    found = infotext(", Hires upscale: 2, Hires steps: 0, Denoising strength: 0.5")
    assert (found.request.hires_steps, found.request.hires_strength) == (None, 0.5)
    assert found.unsupported == {}


@pytest.mark.parametrize(
    ("inputs", "name"),
    [
        ({"seed": -1}, "seed"),
        ({"seed": ["99", 0]}, "seed"),
        ({"seed": [["a"], 0]}, "seed"),
        ({"steps": 1e99}, "steps"),
        ({"cfg": {"a": 1}}, "guidance_scale"),
        ({"cfg": "strong"}, "guidance_scale"),
    ],
)
def test_an_input_that_no_request_takes_is_told(inputs, name):
    found = graph(**inputs)
    assert found.unsupported.keys() == {name}
    assert found.request.prompt.startswith("beautiful scenery")


def test_numbers_may_be_written_as_texts():
    found = graph(seed="123", cfg="4.5")
    assert (found.request.seed, found.request.guidance_scale) == (123, 4.5)
    assert found.unsupported == {}


@pytest.mark.parametrize("batch", [10**6, 2**70, "1000"])
def test_a_huge_batch_is_not_drawn(batch):
    found = graph({"5": {"inputs": {"width": 64, "height": 64, "batch_size": batch}}})
    assert (found.request.count, list(found.unsupported)[-1]) == (1, "batch_size")


@pytest.mark.parametrize("name", [["4", 1], 7, None, {"a": 1}])
def test_a_model_without_a_name_has_none(name):
    assert (
        graph({"4": {"class_type": "CheckpointLoader", "inputs": {"ckpt_name": name}}}).model
        is None
    )


def test_the_seed_of_the_last_of_many_pictures_may_be_too_large():
    size = {"width": 64, "height": 64, "batch_size": 4}
    found = graph({"5": {"class_type": "EmptyLatentImage", "inputs": size}}, seed=2**64 - 2)
    assert (found.request.seed, found.request.count) == (2**64 - 2, 1)
    assert found.unsupported["count"].startswith("4: seed")


def test_what_stands_in_a_value_is_no_setting():
    resources = (
        '[{"type": "lora", "modelName": "Tiny, Size: big, Steps: 99", "air": "urn:air:sd1"}]'
    )
    found = infotext(f', Civitai resources: {resources}, Hashes: {{"model": "a: b, Seed: 9"}}')
    assert (found.request.width, found.request.steps, found.request.seed) == (64, 5, 1)
    assert found.unsupported == {}
    broken = infotext(", Civitai resources: [{ Clip skip: 2, Tiling: True").request
    assert (broken.clip_skip, broken.seamless) == (None, "xy")
