"""What files of other programs say about the making of their pictures, and what of it a request can say."""

import doctest
import json
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from ldm.exif import to_exif
from ldm.metadata import a1111, comfyui, read_origin, texts
from ldm.request import Request

DATA = Path(__file__).parent / "data/metadata"
SAMPLES = json.loads((Path(__file__).parent / "data/metadata.json").read_text(encoding="utf-8"))


def origin(name):
    text = (DATA / name).read_text(encoding="utf-8")
    if name.endswith(".txt"):
        return a1111.read({"parameters": text})
    return comfyui.read({"workflow" if "workflow" in name else "prompt": text})


@pytest.mark.parametrize("name", SAMPLES)
def test_samples(name):
    found = origin(name)
    assert found.request == Request(**SAMPLES[name]["request"])
    assert sorted(found.lost) == sorted(SAMPLES[name]["lost"])


def test_doctests():
    assert doctest.testmod(a1111) == (0, 1)


def test_every_sample_is_tested():
    assert {path.name for path in DATA.iterdir()} == set(SAMPLES)


def test_names_of_models_and_programs():
    assert (origin("a1111-1.5-karras.txt").program, origin("a1111-1.5-karras.txt").model) == (
        "AUTOMATIC1111",
        "Juggernaut_XL_6",
    )
    assert (origin("comfyui-lora.json").program, origin("comfyui-lora.json").model) == ("ComfyUI", "anime.safetensors")
    assert origin("a1111-2022.txt").model is None


def test_what_is_lost_says_its_value_and_why():
    lost = origin("a1111-1.10-unknown.txt").lost
    assert lost["Sampler"] == "DDIM CFG++: there is no such sampler here"
    assert origin("comfyui-controlnet.json").lost["scheduler"].startswith("linear_quadratic: ")


def test_what_is_written_for_the_web_ui():
    request = Request("a cat,\nsitting", "ugly", 20, "euler_ancestral", "karras", 7, None, 965400086, 512, 768)
    assert a1111.write(request, "v1-5, pruned").split("\n") == [
        "a cat,",
        "sitting",
        "Negative prompt: ugly",
        "Steps: 20, Sampler: Euler a, Schedule type: Karras, CFG scale: 7, Seed: 965400086, Size: 512x768, "
        'Model: "v1-5, pruned", RNG: CPU',
    ]
    request = Request("a", steps=3, sampler="ddim", schedule="leading", eta=0.25, strength=0.75, compat="a1111")
    line = "Steps: 3, Sampler: DDIM, Schedule type: DDIM, Seed: 42, Denoising strength: 0.75, Eta DDIM: 0.25"
    assert a1111.write(request) == f"a\n{line}"
    batch = Request(("a", "b"), ("no a", "no b"), count=2, only=3)
    assert a1111.write(batch).startswith("b\nNegative prompt: no b\n")


@pytest.mark.parametrize(
    "options",
    [
        {"prompt": "a (cat:1.2), with: commas", "negative": "dog\nsecond", "scale": 4.5, "clip_skip": 2, "eta": 0.5},
        {"seed": 2**64 - 1, "sampler": "unipc_bh2", "schedule": "sgm_uniform", "seamless": "xy"},
        {"hires": 1.5, "hires_steps": 7, "hires_strength": 0.55, "hires_pixels": True},
        {"variation": 0.25, "variation_seed": 9, "noise_width": 128, "noise_height": 64, "compat": "a1111"},
        {"sampler": "heun", "s_churn": 4, "s_tmin": 0.1, "s_tmax": 9, "s_noise": 1.01, "zero_snr": True},
        {"emphasis": "off", "sampler": "euler_ancestral", "ensd": 31337, "compat": "a1111"},
        {"strength": 0.4, "mask": "mask.png", "mask_blur": 3, "only_masked": True, "padding": 8},
    ],
)
def test_what_is_written_for_the_web_ui_is_read_back(options):
    told = {"steps": 9, "sampler": "dpmpp_2m", "schedule": "karras", "scale": 4, "width": 64, "height": 96}
    request = Request(**(told | options))
    found = a1111.read({"parameters": a1111.write(request, "a, model: of mine")})
    assert found.request == replace(request, mask=None, compat=request.compat or "a1111_cpu")
    assert found.model == "a, model: of mine"
    assert set(found.lost) == ({"Init image", "Mask"} if request.mask is not None else set())


@pytest.mark.parametrize(
    "change",
    [
        {"seed": ["6", 0]},  # a link to a node that says no seed
        {"steps": None},
    ],
)
def test_settings_of_comfyui_that_cannot_be_found_are_lost(change):
    graph = json.loads((DATA / "comfyui-default.json").read_text())
    graph["3"]["inputs"] |= change
    found = comfyui.read({"prompt": json.dumps(graph)})
    assert set(found.lost) == set(change)
    assert found.request.prompt.startswith("beautiful scenery")


def test_a_loop_of_links_ends():
    graph = json.loads((DATA / "comfyui-default.json").read_text())
    graph["6"]["inputs"]["text"] = ["6", 0]
    assert "prompt" in comfyui.read({"prompt": json.dumps(graph)}).lost


# Files


def saved(path, text, **options):
    image = Image.new("RGB", (8, 8))
    if path.suffix == ".png":
        info = PngInfo()
        for key, value in text.items():
            info.add_text(key, value)
        image.save(path, pnginfo=info)
    else:
        image.save(path, exif=to_exif(text))
    return path


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp"])
def test_files_of_every_kind_and_program(tmp_path, suffix):
    request, path = Request("größer, 鶴", steps=5, seed=3, scale=2), tmp_path / f"picture.{suffix}"
    found = read_origin(saved(path, texts(request, "tiny")))
    assert (found.program, found.request, found.model, found.lost) == ("ldm", request, "tiny", {})
    assert read_origin(saved(path, {"parameters": "a cat\nSteps: 5, Sampler: Euler, Seed: 3"})).request.steps == 5
    graph = (DATA / "comfyui-default.json").read_text()
    assert read_origin(saved(path, {"prompt": graph, "workflow": "{}"})).program == "ComfyUI"
    drawing = (DATA / "comfyui-workflow.json").read_text()
    assert read_origin(saved(path, {"workflow": drawing})).request.seed == 156680208700286


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ({}, "says nothing about its making"),
        ({"ldm": "{"}, "cannot be understood: a request must be JSON"),
        ({"prompt": "[]"}, "must be a JSON object of nodes"),
        ({"workflow": "[]"}, "ComfyUI's workflow must be JSON with nodes and links"),
        ({"workflow": '{"nodes": [{"id": 1}]}'}, "ComfyUI's workflow must be JSON with nodes and links"),
        ({"prompt": "{}"}, "no node of ComfyUI's graph has the inputs of a sampler"),
        ({"parameters": "a\nSteps: many, Sampler: Euler, Seed: 3"}, "Steps should have numbers, not 'many'"),
        ({"parameters": "a\nSteps: 0, Sampler: Euler, Seed: 3"}, "steps must be a whole number from 1"),
    ],
)
def test_what_cannot_be_read_is_said(tmp_path, text, match):
    with pytest.raises(ValueError, match=match):
        read_origin(saved(tmp_path / "picture.png", text))
