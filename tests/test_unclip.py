"""Models that vary a picture (SD 2.1 unCLIP): what they are told, and what is asked of the user."""

import math
from dataclasses import replace

import pytest
import torch

from helpers import first_call, random_picture, request_in
from ldm.cli import main
from ldm.clip.augmentation import alphas_cumprod
from ldm.clip.pictures import prepared
from ldm.clip.tokenizer import Tokenizer
from ldm.models.weights.components import read_components
from ldm.pipeline.model import LatentDiffusion
from ldm.request import Request
from ldm.unet.blocks import timestep_embedding
from tiny_families import SMALL, random_model

PICTURE = random_picture(37, 54)
NAMES = "sd2-unclip-h", "sd2-unclip-l"
SIDES = {"width": 128, "height": 96}


@pytest.fixture(scope="module")
def model():
    found = random_model(SMALL["sd2-unclip-h"])
    tokenizer = Tokenizer(found.merges, found.family.text[0].length)
    model = LatentDiffusion(found.text, found.unet, found.vae, tokenizer, found.family)
    model.others = found.others
    return model


def vectors(model, picture, **options):
    """Of the first call: the negatives' rows, and those of the prompt."""
    request = Request(**({"prompt": "cat", "steps": 2, "seed": 5} | SIDES | options))
    return first_call(model, request, picture).conditioning.vector


@pytest.mark.parametrize("level", [0, 300, 999])
def test_the_vector_is_the_noised_embedding_and_its_level(model, level):
    negative, positive = vectors(model, PICTURE, noise_level=level)
    assert (negative == 0).all()
    vision, stats = model.others["vision"], model.others["augmentor"]
    with torch.no_grad():
        embedding = vision(prepared([PICTURE], vision.config.size)).pooled[0]
    mean, std = stats.mean.weight[0], stats.std.weight[0]
    normals = torch.randn(10, generator=torch.Generator().manual_seed(5))
    a = alphas_cumprod(1000)[level]
    z = math.sqrt(a) * (embedding - mean) / std + math.sqrt(1 - a) * normals
    torch.testing.assert_close(positive[:10], z * std + mean, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(positive[10:], timestep_embedding(torch.tensor([level]), 10)[0])


def test_without_a_picture_it_is_zeros(model):
    assert (vectors(model, None) == 0).all()


def test_every_picture_has_noise_of_its_own(model):
    rows = vectors(model, PICTURE, noise_level=500, count=2)
    alone = vectors(model, PICTURE, noise_level=500, seed=6)
    assert not torch.equal(rows[2], rows[3])
    torch.testing.assert_close(rows[3], alone[1])


def test_guidance_of_1_has_one_branch(model):
    (row,) = vectors(model, PICTURE, guidance_scale=1)
    assert (row != 0).any()


def test_sampling_starts_from_noise_unless_a_strength_or_a_mask_is_given(model):
    request = Request("cat", steps=4, **SIDES)
    assert model.resolve(request, PICTURE).from_noise
    assert not model.resolve(replace(request, strength=0.5), PICTURE).from_noise
    assert not model.resolve(request, PICTURE, PICTURE.convert("L")).from_noise
    first = first_call(model, request, PICTURE).x
    torch.testing.assert_close(first, first_call(model, request, PICTURE.rotate(90)).x)


def test_the_picture_is_seen_as_it_came_whatever_is_drawn(model):
    wide = vectors(model, PICTURE, width=192, height=64)
    assert torch.equal(wide, vectors(model, PICTURE, width=64, height=64))


@pytest.mark.parametrize(
    ("options", "picture", "fault"),
    [
        ({"noise_level": 3}, None, "noise_level is of the noise on a picture: give --image"),
        ({"noise_level": 1000}, PICTURE, "noise_level"),
        ({"depth": "x.png"}, PICTURE, "depth is for a model that is told depth"),
        ({}, random_picture(300, 4), "300 x 4: this model sees the square"),
        ({}, torch.zeros(1, 4, 64, 64), r"an image must be a tensor \(1, 3, H, W\)"),
        ({}, __file__, "cannot be read as a picture|is not a picture|no picture"),
    ],
)
def test_what_cannot_be_is_said(model, options, picture, fault):
    with pytest.raises(ValueError, match=fault):
        model.resolve(Request("cat", **SIDES, **options), picture)


def test_networks_that_are_not_there_are_said(model):
    lacking = LatentDiffusion(model.text, model.unet, model.vae, model.tokenizer, model.family)
    with pytest.raises(ValueError, match="lacks the networks that see a picture"):
        lacking.img2img("cat", PICTURE, steps=2, **SIDES)


def test_one_network_alone_is_read(model, tmp_path):
    model.save(tmp_path / "a.safetensors")
    (vision,) = read_components(tmp_path / "a.safetensors", ["vision"]).values()
    ours = model.others["vision"].state_dict()
    assert all(torch.equal(ours[name], x) for name, x in vision.state_dict().items())


@pytest.mark.parametrize(
    "line", ["img2img --init-img in.png --noise_level 40", "txt2img --n_iter 1 --prompt cat"]
)
def test_commands(model, line, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model.save("model.safetensors")
    PICTURE.save("in.png")
    asked = [*line.split(), "--n_samples", "1", "--steps", "2", "--W", "128", "--H", "96"]
    assert main([*asked, "--ckpt", "model.safetensors", "--outdir", "o"]) == 0
    made = request_in("o/samples/00000.png")
    assert (made.noise_level, made.prompt) == ((40, "") if "img2img" in line else (None, "cat"))
    assert (made.guidance_scale, made.width, made.height) == (10, 128, 96)
