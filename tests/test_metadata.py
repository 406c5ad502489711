"""What files of other programs say about the making of their pictures, and what of it a request can
say."""

import doctest
import json
from dataclasses import asdict, fields, replace
from pathlib import Path

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from ldm.images.exif import to_exif
from ldm.metadata import a1111, comfyui, infotext, programs, read_metadata, texts, writing
from ldm.request import Request
from ldm.request.additions import Additions

DATA = Path(__file__).parent / "data/metadata"


def metadata(name):
    text = (DATA / name).read_text(encoding="utf-8")
    if name.endswith(".txt"):
        return a1111.read({"parameters": text})
    return comfyui.read({"workflow" if "workflow" in name else "prompt": text})


def test_doctests():
    assert doctest.testmod(a1111) == (0, 2)
    assert doctest.testmod(infotext) == (0, 3)
    assert doctest.testmod(programs) == (0, 2)


def test_names_of_models_and_programs():
    assert (metadata("a1111-1.5-karras.txt").program, metadata("a1111-1.5-karras.txt").model) == (
        "AUTOMATIC1111",
        "Juggernaut_XL_6",
    )
    assert (metadata("comfyui-lora.json").program, metadata("comfyui-lora.json").model) == (
        "ComfyUI",
        "anime.safetensors",
    )
    assert metadata("a1111-2022.txt").model is None


def test_what_is_unsupported_says_its_value_and_why():
    unsupported = metadata("a1111-1.10-unknown.txt").unsupported
    assert unsupported["Sampler"] == "DDIM CFG++: there is no such sampler here"
    assert (
        metadata("comfyui-controlnet.json")
        .unsupported["scheduler"]
        .startswith("linear_quadratic: ")
    )


def test_what_is_written_for_the_web_ui():
    options = {"steps": 20, "sampler": "euler_ancestral", "schedule": "karras"}
    options |= {"guidance_scale": 7, "seed": 965400086, "width": 512, "height": 768}
    request = Request("a cat,\nsitting", "ugly", **options)
    assert writing.write(request, "v1-5, pruned").split("\n") == [
        "a cat,",
        "sitting",
        "Negative prompt: ugly",
        "Steps: 20, Sampler: Euler a, Schedule type: Karras, CFG scale: 7, Seed: 965400086, "
        'Size: 512x768, Model: "v1-5, pruned", RNG: CPU',
    ]
    request = Request(
        "a", steps=3, sampler="ddim", schedule="leading", eta=0.25, strength=0.75, compat="a1111"
    )
    line = "Steps: 3, Sampler: DDIM, Schedule type: DDIM, Seed: 42"
    assert writing.write(request) == f"a\n{line}, Denoising strength: 0.75, Eta DDIM: 0.25"
    batch = Request(("a", "b"), ("no a", "no b"), count=2, only=3)
    assert writing.write(batch).startswith("b\nNegative prompt: no b\n")


@pytest.mark.parametrize(
    "options",
    [
        {
            "prompt": "a (cat:1.2), with: commas",
            "negative": "dog\nsecond",
            "guidance_scale": 4.5,
            "clip_skip": 2,
            "eta": 0.5,
        },
        {"seed": 2**64 - 1, "sampler": "unipc_bh2", "schedule": "sgm_uniform", "seamless": "xy"},
        {"hires": 1.5, "hires_steps": 7, "hires_strength": 0.55, "hires_upscaler": "pixels"},
        {"subseed_strength": 0.25, "subseed": 9, "seed_resize_from": (128, 64), "compat": "a1111"},
        {
            "sampler": "heun",
            "s_churn": 4,
            "s_tmin": 0.1,
            "s_tmax": 9,
            "s_noise": 1.01,
            "zero_snr": True,
        },
        {"prompt_syntax": "off", "sampler": "euler_ancestral", "ensd": 31337, "compat": "a1111"},
        {
            "strength": 0.4,
            "mask": "mask.png",
            "mask_blur": 3,
            "inpaint_only_masked": True,
            "masked_padding": 8,
        },
    ],
)
def test_what_is_written_for_the_web_ui_is_read_back(options):
    told = {
        "steps": 9,
        "sampler": "dpmpp_2m",
        "schedule": "karras",
        "guidance_scale": 4,
        "width": 64,
        "height": 96,
    }
    request = Request(**(told | options))
    found = a1111.read({"parameters": writing.write(request, "a, model: of mine")})
    assert found.request == replace(request, mask=None, compat=request.compat or "a1111_cpu")
    assert found.model == "a, model: of mine"
    absent = {"Init image", "Mask"} if request.mask is not None else set()
    other = {"Hires upscaler"} if request.hires_upscaler == "pixels" else set()  # it is not Lanczos
    assert set(found.unsupported) == absent | other


@pytest.mark.parametrize(
    "change",
    [
        {"seed": ["6", 0]},  # a link to a node that says no seed
        {"steps": None},
    ],
)
def test_settings_of_comfyui_that_cannot_be_found_are_unsupported(change):
    graph = json.loads((DATA / "comfyui-default.json").read_text())
    graph["3"]["inputs"] |= change
    found = comfyui.read({"prompt": json.dumps(graph)})
    assert set(found.unsupported) == set(change)
    assert found.request.prompt.startswith("beautiful scenery")


def test_a_loop_of_links_ends():
    graph = json.loads((DATA / "comfyui-default.json").read_text())
    graph["6"]["inputs"]["text"] = ["6", 0]
    assert "prompt" in comfyui.read({"prompt": json.dumps(graph)}).unsupported


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
    request, path = (
        Request("größer, 鶴", steps=5, seed=3, guidance_scale=2),
        tmp_path / f"picture.{suffix}",
    )
    found = read_metadata(saved(path, texts(request, "tiny")))
    assert (found.program, found.request, found.model, found.unsupported) == (
        "ldm",
        request,
        "tiny",
        {},
    )
    assert (
        read_metadata(
            saved(path, {"parameters": "a cat\nSteps: 5, Sampler: Euler, Seed: 3"})
        ).request.steps
        == 5
    )
    graph = (DATA / "comfyui-default.json").read_text()
    assert read_metadata(saved(path, {"prompt": graph, "workflow": "{}"})).program == "ComfyUI"
    drawing = (DATA / "comfyui-workflow.json").read_text()
    assert read_metadata(saved(path, {"workflow": drawing})).request.seed == 156680208700286


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ({}, "says nothing about its making"),
        ({"ldm": "{"}, "cannot be understood: a request must be JSON"),
        ({"prompt": "[]"}, "must be a JSON object of nodes"),
        ({"workflow": "[]"}, "ComfyUI's workflow must be JSON with nodes and links"),
        (
            {"workflow": '{"nodes": [{"id": 1}]}'},
            "ComfyUI's workflow must be JSON with nodes and links",
        ),
        ({"prompt": "{}"}, "no node of ComfyUI's graph has the inputs of a sampler"),
    ],
)
def test_what_cannot_be_read_is_said(tmp_path, text, match):
    with pytest.raises(ValueError, match=match):
        read_metadata(saved(tmp_path / "picture.png", text))


def test_pictures_of_version_0_1_are_read_under_the_names_of_today(tmp_path):
    """The file has each of the 53 fields that a request had, none of them at its default."""
    new = {"original_size", "crop", "target_size", "aesthetic_score", "refiner", "refiner_start"}
    new |= {"noise_level", "image_guidance_scale", "depth", "depth_model", "upscaler", "cache"}
    new |= {field.name for field in fields(Additions)}
    text = (Path(__file__).parent / "data/request-0.1-full.json").read_text(encoding="utf-8")
    assert len(json.loads(text)) == 53
    request = read_metadata(saved(tmp_path / "old.png", {"ldm": text})).request
    defaults = asdict(Request())
    assert [name for name, value in asdict(request).items() if value == defaults[name]] == [
        name for name in defaults if name in new
    ]
    assert request.prompt == ("a cat", "größer, 鶴")
    assert (request.guidance_scale, request.guidance_rescale) == (4.5, 0.7)
    assert (request.guidance_interval, request.seed_resize_from) == ((0.5, 8), (128, 32))
    assert (request.subseed, request.subseed_strength) == (11, 0.25)
    assert (request.masked_content, request.hires_upscaler) == ("fill", "pixels")
    assert (request.inpaint_only_masked, request.masked_padding) == (True, 16)


def test_what_version_0_1_left_open_is_open_today(tmp_path):
    old = {"guide_low": 0.0, "guide_high": None, "noise_width": None, "noise_height": None}
    old |= {"hires": None, "scale": None, "emphasis": None}
    found = read_metadata(saved(tmp_path / "old.png", {"ldm": json.dumps(old)}))
    assert found.request == Request()
