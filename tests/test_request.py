import dataclasses
import doctest
import json
from pathlib import Path

import numpy as np
import pytest

import ldm.request
from helpers import PICTURE
from ldm.pipeline.job import resolve
from ldm.request import Request
from ldm.runtime.checks import known
from ldm.runtime.renamed import RENAMED

OLD = Path(__file__).parent / "data/request-0.1.json"
FULL = Request(
    ("a cat", "ein Bär: “groß”, 熊"),
    negative="blurry,\nugly",
    steps=20,
    sampler="euler_ancestral",
    schedule="karras",
    guidance_scale=7.5,
    eta=0.5,
    seed=2**64 - 9,
    width=512,
    height=768,
    count=4,
    image="in.png",
    strength=0.6,
    full_steps=True,
)


def test_doctests():
    assert doctest.testmod(ldm.request).failed == 0


@pytest.mark.parametrize("request_", [Request(), FULL], ids=["default", "full"])
def test_json_keeps_every_field(request_):
    assert Request.from_json(request_.to_json()) == request_
    assert json.loads(request_.to_json()).keys() == {f.name for f in dataclasses.fields(Request)}


def test_json_may_leave_fields_out_but_not_invent_any():
    assert Request.from_json('{"prompt": "a cat", "guidance_scale": 3}') == Request(
        "a cat", guidance_scale=3.0
    )
    with pytest.raises(
        ValueError, match="unknown option of a request 'stpes'; did you mean 'steps'"
    ):
        Request.from_json('{"stpes": 3}')
    for text in ("", "[1]", "3", "{"):
        with pytest.raises(ValueError, match="a request must be"):
            Request.from_json(text)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"steps": 0}, "steps must be a whole number from 1 to 1000, not 0"),
        ({"steps": 2.5}, "steps must be a whole number"),
        ({"steps": True}, "steps must be a whole number"),
        (
            {"guidance_scale": float("nan")},
            "guidance_scale must be a number from -1000 to 1000, not nan",
        ),
        ({"guidance_scale": 10**400}, "guidance_scale must be a number"),
        ({"guidance_scale": "7"}, "guidance_scale must be a number"),
        ({"strength": 1.01}, "strength must be a number from 0 to 1, not 1.01"),
        ({"seed": -1}, "seed must be a whole number from 0 to 18446744073709551615"),
        ({"seed": None}, "seed must be a whole number"),
        ({"seed": 2**64 - 1, "count": 2}, "leaves no room for 2 pictures"),
        ({"prompt": ()}, "prompt must be text, or a list of texts"),
        ({"prompt": ["a", 1]}, "prompt must be text, or a list of texts"),
        ({"prompt": None}, "prompt must be text"),
        ({"prompt": "\udcff"}, "prompt must be text that UTF-8 can hold"),
        ({"full_steps": 1}, "full_steps must be true or false, not 1"),
        ({"sampler": 3}, "sampler must be text"),
    ],
)
def test_refuses_with_what_is_allowed(values, message):
    with pytest.raises(ValueError, match=message):
        Request(**values)


def test_names_every_wrong_field_at_once():
    with pytest.raises(ValueError, match=r"width must be .*; steps must be "):
        Request(steps=-1, width="wide")


def test_numbers_of_numpy_become_plain():
    request = Request(steps=np.int64(3), guidance_scale=np.float32(2))
    assert (type(request.steps), type(request.guidance_scale)) == (int, float)
    assert Request.from_json(request.to_json()) == request


def test_zero_is_a_number(tiny_family):
    asked = {"guidance_scale": 0, "seed": 0, "eta": 0.0, "strength": 0}
    found = resolve(Request(**asked), tiny_family, PICTURE).request
    assert {name: getattr(found, name) for name in asked} == asked
    assert found.steps == tiny_family.steps


def test_a_list_of_one_prompt_is_a_prompt():
    assert Request(["a"]) == Request("a")


@pytest.mark.parametrize("size", [1, 2, 3, 5, 7, 100])
def test_split_gives_the_same_pictures(size):
    request = Request(["a", "b", "c"], seed=10, count=2, steps=5)
    parts = request.split(size)
    pictures = [(prompt, part.seed + i) for part in parts for i, prompt in enumerate(part.prompts)]
    assert pictures == [(prompt, 10 + i) for i, prompt in enumerate("abcabc")]
    assert all(part.total <= size and part.count == 1 and part.steps == 5 for part in parts)


def test_negatives_go_with_their_prompts():
    request = Request(("a", "b"), ("x", "y"), seed=5, count=2)
    assert [(part.prompt, part.negative, part.seed) for part in request.split(1)] == [
        *(("a", "x", 5), ("b", "y", 6), ("a", "x", 7), ("b", "y", 8))
    ]
    assert request.split(3)[0].negatives == ("x", "y", "x")
    assert Request(("a", "b"), "x").negatives == ("x", "x")
    assert Request.from_json(request.to_json()) == request
    with pytest.raises(ValueError, match="2 negatives for 3 prompts: give one, or as many"):
        Request(("a", "b", "c"), ("x", "y"))
    with pytest.raises(ValueError, match="negative must be text, or a list of texts"):
        Request("a", (1,))


def test_split_into_nothing_is_refused():
    with pytest.raises(ValueError, match="0 pictures at once: give 1 or more"):
        Request("a").split(0)


def test_known_suggests_the_nearest_name():
    with pytest.raises(ValueError, match=r"unknown sampler 'zzz'\. There are euler, heun"):
        known("zzz", ["euler", "heun"], "sampler")


# Version 0.1


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ({"scale": 5}, {"guidance_scale": 5}),
        ({"rescale": 0.5}, {"guidance_rescale": 0.5}),
        ({"emphasis": "comfyui"}, {"prompt_syntax": "comfyui"}),
        ({"exact_steps": True}, {"full_steps": True}),
        ({"match_colours": True}, {"color_correction": True}),
        ({"repaint_from": "noise"}, {"masked_content": "noise"}),
        ({"only_masked": True}, {"inpaint_only_masked": True}),
        ({"padding": 7}, {"masked_padding": 7}),
        ({"enlarge": 2}, {"upscale": 2}),
        ({"variation": 0.5}, {"subseed_strength": 0.5}),
        ({"variation_seed": 8}, {"subseed": 8}),
        ({"skip": 3}, {"noise_offset": 3}),
        ({"guide_low": 0.5}, {"guidance_interval": (0.5, 10**4)}),
        ({"guide_high": 9}, {"guidance_interval": (0, 9)}),
        ({"guide_low": 0.5, "guide_high": 9}, {"guidance_interval": (0.5, 9)}),
        ({"guide_low": 0, "guide_high": None}, {}),
        ({"noise_width": 512, "noise_height": 768}, {"seed_resize_from": (512, 768)}),
        ({"noise_width": None, "noise_height": None}, {}),
        ({"hires_pixels": True}, {"hires_upscaler": "pixels"}),
        ({"hires_pixels": False}, {"hires_upscaler": "latent"}),
    ],
    ids=str,
)
def test_fields_by_their_names_of_version_0_1(old, new):
    assert Request.of(**old) == Request(**new)
    assert Request.from_json(json.dumps(old)) == Request(**new)


def test_one_side_of_the_seeds_noise_as_version_0_1_had_it():
    """The other side is the picture's."""
    asked = Request.of(noise_width=512, width=640, height=768)
    assert asked.seed_resize_from == (512, 768)


@pytest.mark.parametrize(("compat", "found"), [("diffusers", 1), ("a1111", 2), (None, 2)])
def test_version_0_1_counted_layers_as_the_web_ui(compat, found):
    old = json.loads(OLD.read_text()) | {"compat": compat, "clip_skip": 2}
    assert Request.from_json(json.dumps(old)).clip_skip == found
    if compat == "diffusers":
        assert Request.from_json(json.dumps(old | {"clip_skip": 1})).clip_skip is None


def test_the_json_of_a_picture_of_version_0_1():
    with open(OLD, encoding="utf-8") as file:
        found = Request.from_json(file.read())
    assert found == Request(
        "a cat",
        "blurry",
        seed=5,
        steps=20,
        sampler="euler_ancestral",
        schedule="karras",
        guidance_scale=7.5,
        width=512,
        height=512,
        count=2,
        prompt_syntax="a1111",
        hires=2,
        hires_strength=0.7,
        hires_upscaler="pixels",
        subseed_strength=0.25,
        subseed=8,
        seed_resize_from=(512, 640),
        guidance_interval=(0.5, 10.0),
        guidance_rescale=0.5,
        clip_skip=1,
        mask_blur=0,
    )
    names = {f.name for f in dataclasses.fields(Request)}
    assert not RENAMED.keys() & names
    assert set(RENAMED.values()) <= names
