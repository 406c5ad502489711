"""Passes, prompts and settings of other programs: what they mean, and what is told instead."""

import json
from pathlib import Path

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from ldm.metadata import comfyui, read_metadata
from ldm.metadata.reading import READERS
from ldm.request import Request

GRAPH = (Path(__file__).parent / "data/metadata/comfyui-default.json").read_text()
SETTINGS = "Steps: 5, Sampler: Euler, CFG scale: 3, Seed: 1, Size: 64x64"


def infotext(more, prompt="a", settings=SETTINGS):
    return READERS["parameters"]({"parameters": f"{prompt}\n{settings}{more}"})


def graph(change=None, **inputs):
    """What is read of the default graph, its sampler's inputs changed."""
    nodes = json.loads(GRAPH)
    nodes["3"]["inputs"] |= inputs
    return comfyui.read({"prompt": json.dumps(nodes | (change or {}))})


# Passes and pictures to start from


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        (", Denoising strength: 0", {}),
        (", Denoising strength: 0.5", {"strength": 0.5}),
        (", Denoising strength: 0, Mask blur: 4", {"strength": 0, "mask_blur": 4}),
        (", Denoising strength: 0, Init image hash: 12ab", {"strength": 0}),
        (", Denoising strength: 0.6, Hires upscale: 2", {"hires": 2, "hires_strength": 0.6}),
        (", Denoising strength: 0.6, Hires resize: 96x96", {"hires": 1.5, "hires_strength": 0.6}),
        (", Denoising strength: 0.6, Hires resize: 0x96", {"hires": 1.5, "hires_strength": 0.6}),
        (
            ", Denoising strength: 0.6, First pass size: 32x32",
            {"hires": 2, "hires_strength": 0.6, "width": 32, "height": 32},
        ),
    ],
)
def test_strength_is_the_second_passs_or_that_of_img2img(more, expected):
    found = infotext(more)
    plain = infotext("").request
    fields = {name: getattr(found.request, name) for name in expected}
    assert fields == expected
    latent = {"hires_upscaler": "latent"} if "hires" in expected else {}  # what they start with
    assert found.request == Request(**{**vars(plain), **expected, **latent})
    assert ("Init image" in found.unsupported) == ("strength" in expected)


def test_the_strength_of_a_second_pass_whose_size_is_not_said_is_told():
    found = infotext(", Denoising strength: 0.7, Hires steps: 9, Hires upscaler: Latent")
    assert found.request.strength is None
    assert found.unsupported["Denoising strength"].startswith("0.7: how large the second pass is")
    marks = ", Denoising strength: 0.7, Hires upscaler: Latent, Mask blur: 4"
    assert infotext(marks).request.strength == 0.7


@pytest.mark.parametrize("way", ["First pass size: 0x0", "Hires resize: 96x64", "Hires resize: x"])
def test_a_second_pass_that_cannot_be_drawn_is_told_and_the_first_is_drawn(way):
    found = infotext(f", Denoising strength: 0.7, {way}")
    assert found.request == infotext("").request
    assert list(found.unsupported) == [way.partition(":")[0]]


@pytest.mark.parametrize(
    "between", ["ConditioningZeroOut", "SomeNode"], ids=["known to empty it", "of any kind"]
)
def test_a_node_that_makes_the_negative_of_the_prompt_does_not_make_it_the_prompt(between):
    node = {"class_type": between, "inputs": {"conditioning": ["6", 0]}}
    found = graph({"50": node}, negative=["50", 0])
    assert found.request.prompt.startswith("beautiful scenery")
    assert found.request.negative == ""
    assert found.unsupported["negative"].startswith(f"node {between} makes it")


def test_a_node_between_each_prompt_and_the_sampler_is_passed():
    node = {"class_type": "Apply", "inputs": {"positive": ["6", 0], "negative": ["7", 0]}}
    found = graph({"50": node}, positive=["50", 0], negative=["50", 1])
    assert found.request.prompt.startswith("beautiful scenery")
    assert found.request.negative == "text, watermark"
    loader = {"class_type": "Loader", "inputs": {"positive": "a cat", "negative": "a dog"}}
    request = graph({"50": loader}, positive=["50", 0], negative=["50", 1]).request
    assert (request.prompt, request.negative) == ("a cat", "a dog")


# What is not honoured


@pytest.mark.parametrize(
    "more",
    [
        ', TI hashes: "Bad, one: 12ab, ugly: 34cd"',
        ', Hashes: {"model": "12", "embed:one": "ab", "embed:ugly": "cd"}',
        "\nUsed embeddings: one [119b], ugly [12ab]",
    ],
)
def test_embeddings_are_told(more):
    assert {"embedding one", "embedding ugly"} <= infotext(more).unsupported.keys()


def test_embeddings_in_comfyuis_prompts_are_told():
    text = {"class_type": "CLIPTextEncode", "inputs": {"text": "bad, (embedding:Easy-N:1.2), x"}}
    assert "embedding Easy-N" in graph({"7": text}).unsupported


def test_an_upscaler_that_is_another_here_is_told():
    for name in ("Lanczos", "4x-UltraSharp", "Latent (nearest)"):
        found = infotext(f", Hires upscale: 2, Hires upscaler: {name}")
        assert found.unsupported.keys() == {"Hires upscaler"}
        expected = "latent" if name.startswith("Latent") else "pixels"
        assert found.request.hires_upscaler == expected
    assert infotext(", Hires upscale: 2, Hires upscaler: Latent").unsupported == {}


@pytest.mark.parametrize(
    ("said", "program", "compat", "told"),
    [
        ("Version: v1.9.3", "AUTOMATIC1111", "a1111", False),
        ("Version: 1.10.1", "AUTOMATIC1111", "a1111", False),
        ("Version: f2.0.1v1.10.1-previous-304", "Forge", "a1111", False),
        ("Version: ComfyUI", "ComfyUI", "comfyui", False),
        ("App: SD.Next, Version: 91bd2e1", "SD.Next", "a1111", True),
        ("Version: Fooocus v2.5.5", "Fooocus", "a1111", True),
    ],
)
def test_programs_are_called_by_their_names(said, program, compat, told):
    found = infotext(f", {said}")
    assert (found.program, found.request.compat) == (program, compat)
    assert ("noise" in found.unsupported) == told


def test_names_of_settings_in_another_case():
    found = infotext("", settings="Steps: 5, sampler: Euler, CFG Scale: 3, seed: 1, SIZE: 64x64")
    assert found.request == infotext("").request
    assert found.unsupported == {}


def test_a_text_in_a_single_line():
    text = "a cat: sleeping. Negative prompt: dog Steps: 23, Sampler: Euler, Seed: 3"
    request = READERS["parameters"]({"parameters": text}).request
    assert (request.prompt, request.negative) == ("a cat: sleeping.", "dog")
    assert (request.steps, request.seed) == (23, 3)


def test_a_linked_clip_skip_is_told():
    node = {"class_type": "CLIPSetLastLayer", "inputs": {"stop_at_clip_layer": ["6", 0]}}
    assert "stop_at_clip_layer" in graph({"50": node}).unsupported


def test_a_picture_that_was_changed_afterwards_says_so(tmp_path):
    info = PngInfo()
    info.add_text("parameters", f"a\n{SETTINGS}")
    info.add_text("extras", "Postprocess upscale by: 2")
    for size, keys in (((128, 128), {"extras", "size"}), ((64, 64), {"extras"})):
        Image.new("RGB", size).save(tmp_path / "x.png", pnginfo=info)
        found = read_metadata(tmp_path / "x.png").unsupported
        assert found.keys() == keys
    info.add_text("parameters", f"a\n{SETTINGS}, Hires upscale: 1.5, Denoising strength: 0.5")
    Image.new("RGB", (96, 96)).save(tmp_path / "x.png", pnginfo=info)
    assert read_metadata(tmp_path / "x.png").unsupported.keys() == {"extras"}


def test_without_the_picture_it_is_drawn_from_noise():
    found = infotext(", Denoising strength: 0.5, Mask blur: 4").without_image()
    assert found.request == infotext("").request
    assert {"Init image", "strength", "mask_blur"} <= found.unsupported.keys()
    assert infotext("").without_image() == infotext("")
