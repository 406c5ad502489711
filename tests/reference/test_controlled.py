"""Whole pictures under ControlNets and T2I-Adapters beside diffusers' pipelines."""

import pytest
from diffusers import (
    MultiControlNetModel,
    StableDiffusionAdapterPipeline,
    StableDiffusionControlNetImg2ImgPipeline,
    StableDiffusionControlNetPipeline,
    StableDiffusionXLAdapterPipeline,
    StableDiffusionXLControlNetPipeline,
    StableDiffusionXLControlNetUnionPipeline,
)
from small_models import both
from test_pictures_sdxl import assert_near, ours, scheduler, theirs

from controls import saved, their_adapter, their_controlnet
from helpers import random_picture
from tiny_families import SMALL

WIDTH, HEIGHT = 48, 72  # a latent of 9 x 6, which the way down rounds up
SIZE = {"width": WIDTH, "height": HEIGHT}
HINT, PICTURE = random_picture(WIDTH, HEIGHT), random_picture(WIDTH, HEIGHT).rotate(180)


@pytest.fixture(scope="module")
def sd1(tiny_tokenizer, share_weights):
    return both(SMALL["sd1"], tiny_tokenizer, share_weights)


@pytest.fixture(scope="module")
def sdxl(tiny_tokenizer, share_weights):
    return both(SMALL["sdxl"], tiny_tokenizer, share_weights)


@pytest.fixture
def controlled(tmp_path):
    """Fields of a request for files of networks; and for a hint of each."""

    def options(*networks, more=(":1",)):
        files = [saved(one, tmp_path / f"{i}.safetensors") for i, one in enumerate(networks)]
        hints = [tmp_path / f"{i}.png" for i in range(len(networks))]
        for i, hint in enumerate(hints):
            HINT.rotate(180 * i).save(hint)
        control = [f"{file}{numbers}" for file, numbers in zip(files, more)]
        return {"control": control, "control_image": [str(hint) for hint in hints]}

    return options


@pytest.mark.parametrize("guess", [False, True])
@pytest.mark.parametrize(("strength", "start", "end"), [(1.0, 0.0, 1.0), (0.6, 0.25, 0.8)])
def test_from_a_prompt(sd1, controlled, guess, strength, start, end):
    network = their_controlnet(SMALL["sd1"])
    pipe = sd1.pipeline(
        StableDiffusionControlNetPipeline, scheduler("euler"), controlnet=network,
        safety_checker=None, feature_extractor=None, requires_safety_checker=False,
    )  # fmt: skip
    expected = theirs(
        pipe, "do", image=HINT, guess_mode=guess, controlnet_conditioning_scale=strength,
        control_guidance_start=start, control_guidance_end=end, **SIZE,
    )  # fmt: skip
    asked = controlled(network, more=[f":{strength}:{start}:{end}"])
    got = ours(sd1.ours, "euler", negative="do", guess_mode=guess, **asked, **SIZE)
    assert_near(got, expected)


@pytest.mark.parametrize("guess", [False, True])
def test_several(sd1, controlled, guess):
    networks = [their_controlnet(SMALL["sd1"], seed) for seed in (1, 2)]
    pipe = sd1.pipeline(
        StableDiffusionControlNetPipeline, scheduler("euler"),
        controlnet=MultiControlNetModel(networks), safety_checker=None, feature_extractor=None,
        requires_safety_checker=False,
    )  # fmt: skip
    expected = theirs(
        pipe, "do", image=[HINT, HINT.rotate(180)], guess_mode=guess,
        controlnet_conditioning_scale=[0.5, 0.8], control_guidance_start=[0.0, 0.3],
        control_guidance_end=[0.6, 1.0], **SIZE,
    )  # fmt: skip
    asked = controlled(*networks, more=[":0.5:0:0.6", ":0.8:0.3"])
    got = ours(sd1.ours, "euler", negative="do", guess_mode=guess, **asked, **SIZE)
    assert_near(got, expected)


@pytest.mark.filterwarnings("ignore::FutureWarning")  # one image for three pictures
def test_from_a_picture(sd1, controlled):
    network = their_controlnet(SMALL["sd1"])
    pipe = sd1.pipeline(
        StableDiffusionControlNetImg2ImgPipeline, scheduler("euler"), controlnet=network,
        safety_checker=None, feature_extractor=None, requires_safety_checker=False,
    )  # fmt: skip
    picture = PICTURE.resize((64, 64))
    expected = theirs(
        pipe, "do", image=picture, control_image=HINT.resize((64, 64)), strength=0.6,
        control_guidance_end=0.5, controlnet_conditioning_scale=1.0, width=64, height=64,
    )  # fmt: skip
    asked = controlled(network, more=[":1:0:0.5"])
    HINT.resize((64, 64)).save(asked["control_image"][0])
    got = ours(sd1.ours, "euler", picture, negative="do", strength=0.6, **asked)
    assert_near(got, expected)


@pytest.mark.parametrize("guess", [False, True])
def test_sdxl(sdxl, controlled, guess):
    network = their_controlnet(SMALL["sdxl"])
    pipe = sdxl.pipeline(
        StableDiffusionXLControlNetPipeline, scheduler("euler"), controlnet=network
    )
    expected = theirs(
        pipe, "do", image=HINT, guess_mode=guess, controlnet_conditioning_scale=0.7, **SIZE
    )
    asked = controlled(network, more=[":0.7"])
    got = ours(sdxl.ours, "euler", negative="do", guess_mode=guess, **asked, **SIZE)
    assert_near(got, expected)


def test_a_union_of_sdxl(sdxl, controlled):
    """Of one picture: theirs lets the pictures of a batch see each other. (And it fails in guess
    mode.)"""
    network = their_controlnet(SMALL["sdxl"], union=True)
    pipe = sdxl.pipeline(
        StableDiffusionXLControlNetUnionPipeline, scheduler("euler"), controlnet=network
    )
    expected = theirs(
        pipe, "do", control_image=[HINT], control_mode=[3],
        controlnet_conditioning_scale=0.7, num_images_per_prompt=1, **SIZE,
    )  # fmt: skip
    asked = controlled(network, more=[":0.7"])
    one = {"control_kind": "canny", "count": 1}
    got = ours(sdxl.ours, "euler", negative="do", **asked, **SIZE, **one)
    assert_near(got, expected)


@pytest.mark.parametrize("kind", ["full_adapter", "light_adapter"])
def test_an_adapter(sd1, controlled, kind):
    network = their_adapter(SMALL["sd1"], kind)
    pipe = sd1.pipeline(
        StableDiffusionAdapterPipeline, scheduler("euler"), adapter=network, safety_checker=None,
        feature_extractor=None, requires_safety_checker=False,
    )  # fmt: skip
    hint = HINT.resize((64, 128))  # their sides must be multiples of 64
    expected = theirs(pipe, "do", image=hint, adapter_conditioning_scale=0.7, width=64, height=128)
    asked = controlled(network, more=[":0.7"])
    hint.save(asked["control_image"][0])
    got = ours(sd1.ours, "euler", negative="do", **asked, width=64, height=128)
    assert_near(got, expected)


def test_an_adapter_of_sdxl(sdxl, controlled):
    network = their_adapter(SMALL["sdxl"], "full_adapter_xl")
    pipe = sdxl.pipeline(StableDiffusionXLAdapterPipeline, scheduler("euler"), adapter=network)
    hint = HINT.resize((64, 128))
    expected = theirs(
        pipe, "do", image=hint, adapter_conditioning_scale=0.7, width=64, height=128,
        adapter_conditioning_factor=0.5,
    )  # fmt: skip
    asked = controlled(network, more=[":0.7:0:0.5"])
    hint.save(asked["control_image"][0])
    got = ours(sdxl.ours, "euler", negative="do", **asked, width=64, height=128)
    assert_near(got, expected)
