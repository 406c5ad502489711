"""Variations of pictures by a small model, beside diffusers' pipeline, which reads our folder."""

import pytest
import torch
from diffusers import (
    DDIMScheduler,
    DDPMScheduler,
    EulerDiscreteScheduler,
    StableUnCLIPImg2ImgPipeline,
)

import ldm
from helpers import random_picture
from ldm.clip.augmentation import LEVELS, alphas_cumprod
from ldm.models.weights import save
from ldm.request import Request
from tiny_families import SMALL, random_model

PICTURE = random_picture(37, 54)  # its middle lies between two pixels once it is small
SCHEDULERS = {"ddim": DDIMScheduler, "euler": EulerDiscreteScheduler}
FAMILIES = "sd2-unclip-h", "sd2-unclip-l"


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    folder = tmp_path_factory.mktemp("unclip")
    for name in FAMILIES:
        save(folder / name, random_model(SMALL[name]), "diffusers")
    return folder


@pytest.fixture
def pair(folders):
    """pair(name, sampler) -> our model and their pipeline, of the same folder."""

    def both(name, sampler):
        pipe = StableUnCLIPImg2ImgPipeline.from_pretrained(folders / name)
        pipe.scheduler = SCHEDULERS[sampler].from_config(pipe.scheduler.config)
        pipe.set_progress_bar_config(disable=True)
        return ldm.load(folders / name, "cpu", torch.float32), pipe

    return both


@pytest.mark.parametrize("negative", ["do", None])
@pytest.mark.parametrize("level", [0, 400, 999])
@pytest.mark.parametrize("sampler", SCHEDULERS)
@pytest.mark.parametrize("name", FAMILIES)
def test_three_pictures_that_are_not_square(pair, name, sampler, level, negative):
    model, pipe = pair(name, sampler)
    assert_equal(*drawn(model, pipe, sampler, level, negative))


def test_without_guidance(pair):
    assert_equal(*drawn(*pair("sd2-unclip-h", "ddim"), "ddim", 20, None, scale=1.0))


def drawn(model, pipe, sampler, level, negative, scale=6.0, prompt="cat do"):
    """Latents of ours and of theirs."""
    expected = pipe(
        PICTURE,
        prompt,
        negative_prompt=negative,
        width=96,
        height=128,
        num_inference_steps=4,
        guidance_scale=scale,
        noise_level=level,
        num_images_per_prompt=3,
        generator=torch.Generator().manual_seed(7),
        output_type="latent",
    ).images
    request = Request(
        prompt, negative="" if negative is None else negative, seed=7, count=3, steps=4,
        width=96, height=128, sampler=sampler, schedule="automatic", guidance_scale=scale,
        noise_level=level, compat="diffusers",
    )  # fmt: skip
    return [step.x for step in model.steps(request, PICTURE)][-1], expected


def assert_equal(got, expected):
    assert got.shape == expected.shape == (3, 4, 16, 12)
    assert expected.std() > 0.1
    bound = 1e-4 * max(1.0, expected.abs().max().item())
    torch.testing.assert_close(got, expected, rtol=0, atol=bound)


@pytest.mark.parametrize("name", FAMILIES)
def test_the_picture_and_its_noise_count(pair, name):
    model, _ = pair(name, "ddim")

    def last(picture, level):
        request = Request("cat", steps=2, width=96, height=128, noise_level=level)
        return [step.x for step in model.steps(request, picture)][-1]

    plain = last(PICTURE, 0)
    assert torch.equal(plain, last(PICTURE, 0))
    assert (plain - last(PICTURE.rotate(180), 0)).abs().max() > 1e-3
    assert (plain - last(PICTURE, 900)).abs().max() > 1e-3


def test_the_noise_of_the_embedding_is_that_of_their_schedule():
    theirs = DDPMScheduler(beta_schedule="squaredcos_cap_v2", num_train_timesteps=LEVELS)
    expected = theirs.alphas_cumprod.double()
    got = torch.tensor(alphas_cumprod(LEVELS), dtype=torch.float64)
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-7)
