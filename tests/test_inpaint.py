"""Inpainting a part of a picture, and continuing it, through the whole model."""

import dataclasses

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

from helpers import PICTURE, latents, pixels, random_picture
from ldm.compat.profiles import PROFILES
from ldm.images.files import to_tensor
from ldm.images.saving import to_pil
from ldm.metadata import texts
from ldm.pipeline.batches import finish
from ldm.pipeline.job import resolve
from ldm.request import Request
from ldm.samplers import SAMPLERS

MASK = Image.new("L", PICTURE.size)
ImageDraw.Draw(MASK).rectangle((6, 5, 13, 12), fill=255)
INSIDE = np.asarray(MASK) > 0


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"mask_blur": 3},
        {"inpaint_only_masked": True, "masked_padding": 2},
        {"inpaint_only_masked": True, "masked_padding": 0, "width": 8, "height": 24},
        {"masked_content": "fill", "strength": 0.5},
        {"masked_content": "noise"},
        {"width": 32, "height": 32},
        {"color_correction": True, "sampler": "dpmpp_sde"},
        {"colourise": True},
        {"tile": 8},
        {"seamless": "xy"},
    ],
    ids=str,
)
def test_outside_the_mask_every_bit_is_kept(tiny, options):
    for picture in tiny.inpaint("a cat", PICTURE, MASK, count=2, seed=3, **options):
        assert picture.size == PICTURE.size
        assert (pixels(picture)[~INSIDE] == pixels(PICTURE)[~INSIDE]).all()
        assert (pixels(picture)[INSIDE] != pixels(PICTURE)[INSIDE]).mean() > 0.8


def test_a_feathered_mask_reaches_outside_but_not_far(tiny):
    (picture,) = tiny.inpaint("a cat", PICTURE, MASK, mask_blur=1, feather=True)
    changed = (pixels(picture) != pixels(PICTURE)).any(-1)
    assert changed[~INSIDE].any()
    assert not changed[:, 19:].any()


# all but those that take one picture at a time, or end above 0, where noise is left
WHOLE = [
    name
    for name, sampler in SAMPLERS.items()
    if not sampler.adaptive and PROFILES[None].program not in sampler.ends_at_sigma_min
]


@pytest.mark.parametrize("sampler", WHOLE)
def test_the_known_latents_end_as_they_were(tiny, sampler):
    job = tiny.resolve(Request("a cat", sampler=sampler, steps=3), PICTURE, MASK)
    assert job.request.strength == 1
    *_, last = tiny.steps(job)
    clean = tiny.encode(job.init.image)
    known = torch.nn.functional.max_pool2d(job.init.mask, 2).expand_as(clean) == 0
    assert 0 < known.sum() < known.numel()
    torch.testing.assert_close(last.x[known], clean[known], atol=1e-4, rtol=1e-4)
    assert (last.x - clean)[~known].abs().mean() > 0.1


def test_strength_0_gives_the_picture_back_through_the_vae(tiny):
    (picture,) = tiny.inpaint("a cat", PICTURE, MASK, strength=0)
    init = tiny.resolve(Request(), PICTURE, MASK).init
    (expected,) = init.finish(tiny.decode(tiny.encode(init.image)))
    assert (pixels(picture) == pixels(expected)).all()


def test_what_is_inpainted_follows_prompt_and_seed(tiny):
    def draw(prompt="a cat", **options):
        return pixels(tiny.inpaint(prompt, PICTURE, MASK, **options)[0])

    assert (draw(seed=1) == draw(seed=1)).all()
    for changed in (
        {"seed": 2},
        {"prompt": "a dog"},
        {"masked_content": "noise"},
        {"masked_content": "fill"},
    ):
        assert (draw(**({"seed": 1} | changed)) != draw(seed=1)).any()


def test_noise_forgets_what_was_there(tiny):
    other = PICTURE.copy()
    other.paste("red", (6, 5, 14, 13))
    request = Request(steps=2, masked_content="noise")
    both = [latents(tiny, tiny.resolve(request, each, MASK)) for each in (PICTURE, other)]
    assert not torch.equal(*both)  # the encoder sees the other picture beyond the mask
    request = Request(masked_content="noise", inpaint_only_masked=True, masked_padding=0)
    one, same = (tiny.resolve(request, each, MASK) for each in (PICTURE, other))
    assert one.init.mask.eq(1).all()
    assert torch.equal(latents(tiny, one), latents(tiny, same))


def test_inpaint_only_masked_draws_at_the_models_own_size(tiny):
    request = Request(inpaint_only_masked=True, masked_padding=1)
    job = tiny.resolve(request, PICTURE, MASK)
    assert (job.request.width, job.request.height) == (16, 16)
    assert job.init.overlay.box == (5, 4, 15, 14)
    assert job.size == PICTURE.size


@pytest.mark.parametrize(
    "sides",
    [{"left": 4}, {"right": 5}, {"top": 3}, {"bottom": 6}, {"left": 4, "bottom": 7}],
    ids=str,
)
def test_outpainting_keeps_the_picture_and_adds_at_the_sides(tiny, sides):
    (picture,) = tiny.outpaint("a cat", PICTURE, seed=1, **sides)
    left, right, top, bottom = (sides.get(side, 0) for side in ("left", "right", "top", "bottom"))
    assert picture.size == (22 + left + right, 19 + top + bottom)
    assert (pixels(picture)[top : top + 19, left : left + 22] == pixels(PICTURE)).all()
    new = np.ones((picture.height, picture.width), bool)
    new[top : top + 19, left : left + 22] = False
    edge = np.pad(pixels(PICTURE), ((top, bottom), (left, right), (0, 0)), mode="edge")
    assert (pixels(picture)[new] != edge[new]).any()


def test_a_request_says_it_all(tiny, tmp_path):
    PICTURE.save(tmp_path / "in.png")
    MASK.save(tmp_path / "mask.png")
    named = Request(
        "a cat",
        image=str(tmp_path / "in.png"),
        mask=str(tmp_path / "mask.png"),
        mask_blur=2,
        seed=5,
    )
    (picture,) = tiny.generate(named)
    kept = Request.from_json(texts(tiny.resolve(named).request, tiny.name)["ldm"])
    assert (pixels(tiny.generate(kept)[0]) == pixels(picture)).all()
    (same,) = tiny.inpaint("a cat", PICTURE, MASK, mask_blur=2, seed=5)
    assert (pixels(same) == pixels(picture)).all()
    job = tiny.resolve(kept)
    assert (pixels(finish(tiny, job, latents(tiny, job))[0]) == pixels(picture)).all()
    assert (pixels(tiny.generate(job)[0]) == pixels(picture)).all()
    sides = dataclasses.replace(Request("a cat", image=named.image), left=8, seed=2)
    again = Request.from_json(texts(tiny.resolve(sides).request, tiny.name)["ldm"])
    assert (pixels(tiny.generate(again)[0]) == pixels(tiny.generate(sides)[0])).all()


def test_tensors_will_do(tiny):
    (one,) = tiny.inpaint("a cat", to_tensor(PICTURE), to_tensor(MASK))
    (other,) = tiny.inpaint("a cat", to_pil(to_tensor(PICTURE))[0], MASK)
    assert (pixels(one) == pixels(other)).all()


@pytest.mark.parametrize(
    ("options", "mask", "message"),
    [
        ({}, Image.new("L", (22, 19)), "the mask is black all over"),
        ({"left": 4}, MASK, "a mask, pixels to add at the sides, and to upscale: give one"),
        ({"masked_content": "scratch"}, MASK, "unknown masked_content 'scratch'"),
        ({"hires": 2}, MASK, "the second pass of hires is for pictures from noise"),
        ({"tile": 10}, MASK, "a side of 10 pixels does not fit this model"),
    ],
)
def test_impossible_wishes_are_refused(tiny, options, mask, message):
    with pytest.raises(ValueError, match=message):
        tiny.inpaint("a cat", PICTURE, mask, **options)


def test_a_mask_of_another_size_is_scaled_with_a_warning(tiny):
    small = Image.new("L", (11, 19))
    ImageDraw.Draw(small).rectangle((2, 4, 6, 12), fill=255)
    large = Image.new("L", PICTURE.size)
    ImageDraw.Draw(large).rectangle((4, 4, 13, 12), fill=255)
    with pytest.warns(UserWarning, match="the mask of 11 x 19 is scaled to the picture's 22 x 19"):
        (one,) = tiny.inpaint("a cat", PICTURE, small)
    (other,) = tiny.inpaint("a cat", PICTURE, large)
    assert (pixels(one) == pixels(other)).all()


@pytest.mark.parametrize(
    ("size", "drawn", "options"),
    [
        ((50, 37), (96, 64), {}),  # as many pixels as 64 x 64, of the aspect 1.35, in 32s
        ((20, 80), (32, 128), {}),
        ((5, 5), (64, 64), {}),  # which would be too small to draw
        ((65, 64), (64, 64), {}),
        ((100, 70), (96, 64), {}),  # its own, rounded down
        ((50, 37), (80, 48), {"width": 80, "height": 48}),
        ((50, 37), (32, 32), {"compat": "a1111"}),
    ],
)
def test_a_picture_smaller_than_those_of_the_training_is_drawn_larger(tiny, size, drawn, options):
    unet = dataclasses.replace(tiny.family.unet, channels=(32,) * 5, depth=(0,) * 5)
    family = dataclasses.replace(tiny.family, size=64, unet=unet)
    picture, mask = random_picture(*size), Image.new("L", size)
    mask.paste(255, (1, 1, 3, 3))
    job = resolve(Request("a cat", **options), family, picture, mask)
    assert (job.passes[0].width, job.passes[0].height) == drawn
    assert job.size == size
    again = resolve(job.request, family, picture, mask)
    assert again.request == job.request
    assert torch.equal(again.init.image, job.init.image)


def test_what_is_inpainted_larger_goes_back_to_its_place(tiny):
    picture, mask = random_picture(10, 7), Image.new("L", (20, 14))
    mask.paste(255, (4, 4, 12, 10))
    with pytest.warns(UserWarning, match="the mask of 20 x 14 is scaled to the picture's 10 x 7"):
        (result,) = tiny.inpaint("a cat", picture, mask)
    changed = (pixels(result) != pixels(picture)).any(-1)
    assert result.size == (10, 7)
    assert changed[2:5, 2:6].all()
    assert changed.sum() == 12


def test_a_mask_without_a_picture_is_refused(tiny):
    with pytest.raises(ValueError, match="give the picture that is to be inpainted"):
        tiny.generate(Request("a cat", mask="mask.png"))
