"""Other programs' rules: how prompts are read, schedules, 8 bits, and pictures drawn again."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from helpers import first_call, latents, levels, network_calls, pixels, random_picture
from ldm.compat.noise import NOISES
from ldm.compat.profiles import PROFILE_NAMES, PROFILES
from ldm.metadata import texts
from ldm.pipeline.batches import batch_size, finish
from ldm.request import Request
from small_families import SDXL, build

PICTURE = random_picture(16, 16)
EACH = pytest.mark.parametrize("name", PROFILE_NAMES)


# Prompts, schedules, 8 bits


def test_prompt_syntax(tiny):
    grammars = {name: tiny.resolve(Request(compat=name)).prompt_syntax for name in PROFILES}
    assert grammars == {
        None: "a1111",
        "a1111": "a1111",
        "a1111_cpu": "a1111",
        "comfyui": "comfyui",
        "diffusers": "off",
        "compvis": "off",
    }
    asked = Request(compat="compvis", prompt_syntax="comfyui")
    assert tiny.resolve(asked).prompt_syntax == "comfyui"


def test_automatic_schedules(tiny):
    for name, sampler, schedule in (
        ("compvis", "ddim", "ddim_uniform"),
        ("compvis", "plms", "ddim_uniform"),
        ("a1111", "unipc", "ddim_clipped"),
        ("a1111", "dpmpp_sde", "karras"),
        ("diffusers", "ddim", "leading"),
        ("diffusers", "heun", "uniform"),
        ("diffusers", "dpmpp_2m", "sgm_linspace"),
    ):
        job = tiny.resolve(Request(sampler=sampler, compat=name))
        assert job.request.schedule == schedule


LETTERS = ("cat", "a"), ("do", "b")


def heard(tiny, request, image=None):
    """What the U-Net is told at each of its calls: the first numbers of the prompt's context, as
    letters."""

    def start(context):
        return tuple(context[-1, 1, :4].tolist())

    letters = {start(tiny.conditioning([text]).context): letter for text, letter in LETTERS}
    with network_calls(tiny) as calls:
        list(tiny.steps(request, image))
    return "".join(letters[start(call.conditioning.context)] for call in calls)


@pytest.mark.parametrize(
    ("name", "sampler", "prompt", "letters"),
    [
        (None, "euler", "[cat:do:2]", "aabb"),
        (None, "heun", "[cat:do:2]", "aaaabbb"),
        (None, "heun", "[cat|do]", "aabbaab"),
        ("a1111", "euler", "[cat:do:2]", "aaab"),
        ("a1111", "euler", "[cat|do]", "aaba"),
        ("a1111", "heun", "[cat:do:2]", "aaabbbb"),
        ("a1111", "heun", "[cat:do:.5]", "aaaaabb"),
        ("a1111", "heun", "[cat|do]", "aababab"),
    ],
)
def test_when_a_prompt_changes(tiny, name, sampler, prompt, letters):
    """A1111 counts the calls of its network, from 0, and takes a text up to and with the number
    where it ends."""
    request = Request(prompt, sampler=sampler, steps=4, compat=name, guidance_scale=3)
    assert heard(tiny, request) == letters


def test_a_picture_to_start_from_leaves_a_prompts_changes_where_a1111_has_them(tiny):
    options = {"sampler": "euler", "steps": 4, "strength": 0.5, "schedule": "karras"}
    assert heard(tiny, Request("[cat:do:.5]", **options), PICTURE) == "ab"
    assert heard(tiny, Request("[cat:do:.5]", **options, compat="a1111"), PICTURE) == "aaa"


def test_ddims_steps_are_compviss(tiny):
    """With 30 steps it runs 31."""
    assert len(levels(tiny, steps=30, sampler="ddim", compat="compvis")) - 1 == 31


def test_eight_bits(tiny):
    clean = latents(tiny, Request("a cat"))
    exact = (tiny.decode(clean)[0].permute(1, 2, 0).numpy().clip(-1, 1) + 1) * 127.5
    for name in PROFILES:
        (picture,) = finish(tiny, tiny.resolve(Request(compat=name)), clean)
        rule = np.round if name in (None, "diffusers") else np.floor
        np.testing.assert_array_equal(np.asarray(picture), rule(exact).astype(np.uint8))


# Whole pictures


@EACH
def test_a_picture_is_drawn_again_from_its_own_request(tiny, name):
    """Also where its noise is a part of its batch's."""
    job = tiny.resolve(
        Request(["a cat", "a dog"], seed=5, count=2, sampler="euler_ancestral", compat=name)
    )
    pictures = tiny.generate(job)
    assert len(pictures) == len(job.singles()) == 4
    for picture, single in zip(pictures, job.singles()):
        (again,) = tiny.generate(Request.from_json(single.to_json()))
        assert np.abs(pixels(picture) - pixels(again)).max() <= 1


def test_the_text_in_a_picture_of_a_batch_is_its_own(tiny):
    job = tiny.resolve(Request(["a cat", "a dog"], count=2, compat="comfyui"))
    request = job.request
    said = [texts(single, tiny.name)["parameters"].split("\n")[0] for single in job.singles()]
    assert said == ["a cat", "a dog", "a cat", "a dog"]
    assert request.split(3)[0].only is None
    with pytest.raises(ValueError, match="only 4 is not among 4 pictures: give 0 to 3"):
        replace(request, only=4)


@EACH
def test_pictures_that_share_noise_are_not_drawn_apart(tiny, name):
    job = tiny.resolve(Request("a cat", count=40, compat=name))
    assert (batch_size(tiny, job) == 40) is not NOISES[name].per_image


def test_unknown_words(tiny):
    with pytest.raises(ValueError, match="unknown program 'a111'; did you mean 'a1111'"):
        tiny.steps(Request(compat="a111"))
    with pytest.raises(ValueError, match="unknown prompt_syntax 'none'"):
        tiny.steps(Request(prompt_syntax="none"))


def read_layers(model, **options):
    """Of each of the text encoders' layers, the last first, whether the prompt is read there."""
    call = first_call(model, Request("a cat", negative="do", steps=2, **options))
    found = []
    for row in call.conditioning.context[[0, -1]]:
        layers = [model.conditioning([text], clip_skip=-i).context[0] for text in ("do", "a cat")
                  for i in range(1, 4)]  # fmt: skip
        found += [i % 3 + 1 for i, layer in enumerate(layers) if torch.allclose(row, layer)]
    return tuple(found)


@pytest.mark.parametrize(
    ("compat", "skip", "layers"),
    [
        (None, 1, (2, 2)), (None, 3, (3, 3)), ("a1111", 1, (2, 2)), ("a1111", 3, (3, 3)),
        ("comfyui", 1, (1, 1)), ("comfyui", 2, (2, 2)), ("comfyui", 3, (3, 3)),
        ("diffusers", 1, (2, 3)), (None, None, (2, 2)), ("diffusers", None, (2, 2)),
    ],
)  # fmt: skip
def test_which_layer_of_sdxl_a_clip_skip_is(compat, skip, layers):
    """Of the negative, and of the prompt. Its own is number 2."""
    assert read_layers(build(SDXL), compat=compat, clip_skip=skip) == layers


def test_a_clip_skip_of_diffusers_has_layers_of_its_own():
    model = build(SDXL)
    assert model.resolve(Request("a cat", clip_skip=4)).request.clip_skip == 4
    with pytest.raises(ValueError, match=r"clip_skip 3: .* 1 .* to 4, and .* layer 5"):
        model.resolve(Request("a cat", clip_skip=3, compat="diffusers"))
