"""Hires and tiles through the whole model."""

import pytest
import torch
import torch.nn.functional as F

from helpers import assert_same, latents, pixels, random_picture
from ldm.images.files import to_tensor
from ldm.models.families import FAMILIES
from ldm.pipeline.job import resolve
from ldm.request import Request
from ldm.runtime.tiles import overlap_of

PICTURE = random_picture(32, 24)


# Hires


@pytest.mark.parametrize("upscaler", ["latent", "pixels"])
def test_hires_goes_on_from_the_first_pass_at_its_own_size_and_steps(tiny, upscaler):
    request = Request(
        "a cat",
        seed=1,
        steps=4,
        hires=1.5,
        hires_steps=6,
        hires_strength=0.5,
        hires_upscaler=upscaler,
    )
    steps = list(tiny.steps(request))
    assert [step.index for step in steps] == list(range(4 + 3))
    assert [tuple(step.x.shape[-2:]) for step in steps] == [(8, 8)] * 4 + [(12, 12)] * 3
    assert [step.sigma == 0 for step in steps] == [False] * 3 + [True] + [False] * 2 + [True]
    torch.testing.assert_close(steps[3].x, latents(tiny, Request("a cat", seed=1, steps=4)))
    assert tiny.txt2img("a cat", hires=1.5, hires_upscaler=upscaler)[0].size == (24, 24)


def test_the_second_pass_is_image_to_image_from_the_enlarged_picture(tiny):
    first = {"seed": 1, "steps": 4}
    low = tiny.decode(latents(tiny, Request("a cat", **first)))
    high = F.interpolate(low, (32, 32), mode="bicubic", antialias=True).clamp(-1, 1)
    second = {"hires": 2, "hires_strength": 0.5, "hires_upscaler": "pixels"}
    assert_same(
        latents(tiny, Request("a cat", **first, **second)),
        latents(tiny, Request("a cat", **first, strength=0.5), high),
        1e-4,
    )


def test_hires_of_strength_0_only_enlarges(tiny):
    steps = list(tiny.steps(Request("a cat", steps=2, hires=2, hires_strength=0)))
    assert len(steps) == 3
    small, large = steps[1].x, steps[2].x
    assert large.shape[-1] == 16
    assert_same(large, F.interpolate(small, (16, 16), mode="bilinear", antialias=True))


def test_hires_pictures_do_not_depend_on_their_batch(tiny):
    options = {"hires": 1.5, "sampler": "euler_ancestral"}
    together = latents(tiny, Request("a cat", seed=1, count=3, **options))
    assert_same(together[2:], latents(tiny, Request("a cat", seed=3, **options)))


def test_a_record_takes_up_either_pass(tiny):
    request = Request("a cat", steps=3, hires=1.5, sampler="dpmpp_sde")
    whole = latents(tiny, request)
    for stop in (1, 5):
        record = []
        for step in tiny.steps(request, record=record):
            if step.index + 1 == stop:
                break
        assert_same([step.x for step in tiny.steps(request, record=record)][-1], whole)


def test_planned_passes(tiny):
    job = tiny.resolve(Request(steps=10, hires=1.6, hires_strength=0.3, eta=0.5, sampler="ddim"))
    one, two = job.passes
    assert (one.width, one.height, two.width, two.height) == (16, 16, 26, 26)
    assert one.sampler is two.sampler
    assert one.options == two.options == {"eta": 0.5}
    assert len(one.sigmas) == 11
    assert two.sigmas == one.sigmas[-4:]
    assert (one.earlier, two.earlier) == (0, one.changes)
    assert job.steps == 13
    (only,) = tiny.resolve(Request(steps=10)).passes
    assert (only.resize_from, only.earlier) == (None, 0)


# Tiles


def test_a_tile_as_large_as_the_picture_changes_nothing(tiny):
    torch.testing.assert_close(
        latents(tiny, Request("a cat", tile=16)), latents(tiny, Request("a cat"))
    )


def test_no_network_sees_more_than_a_tile(tiny):
    seen = []
    handles = [
        module.register_forward_pre_hook(
            lambda module, inputs: seen.append(tuple(inputs[0].shape[-2:]))
        )
        for module in (tiny.unet, tiny.vae.encoder, tiny.vae.decoder)
    ]
    try:
        (picture,) = tiny.img2img("a cat", PICTURE, 0.5, width=64, height=48, tile=16)
    finally:
        for handle in handles:
            handle.remove()
    assert picture.size == (64, 48)
    assert set(seen) == {(8, 8), (16, 16)}


def test_upscaling_is_image_to_image_at_another_size_in_tiles_of_the_models(tiny):
    (picture,) = tiny.img2img("a cat", PICTURE, 0.5, upscale=1.6, seed=3)
    assert picture.size == (52, 40)
    (same,) = tiny.img2img("a cat", PICTURE, 0.5, width=52, height=40, tile=16, seed=3)
    assert (pixels(picture) == pixels(same)).all()
    found = tiny.resolve(Request("a cat", strength=0.5, upscale=1.6), PICTURE).request
    assert (found.tile, found.width, found.height) == (16, 52, 40)
    (kept,) = tiny.img2img("a cat", to_tensor(PICTURE), 0.0, upscale=1.6)
    assert kept.size == (52, 40)


def test_tiles_overlap_by_about_a_quarter():
    assert [overlap_of(tile, 8) for tile in (64, 512, 72, 8)] == [16, 128, 16, 0]


def test_tiles_and_hires_go_together(tiny):
    (picture,) = tiny.txt2img("a cat", tile=16, hires=3, hires_upscaler="pixels")
    assert picture.size == (48, 48)


# The second pass's sides


@pytest.mark.parametrize(
    ("size", "scale", "theirs", "ours"),
    [
        ((640, 960), 1.5, (960, 1440), (960, 1440)),
        ((512, 768), 1.8, (920, 1376), (920, 1384)),
        ((512, 936), 2, (1024, 1872), (1024, 1872)),
        ((512, 512), 1.05, (536, 536), (536, 536)),
        ((64, 64), 1.1, (64, 64), (72, 72)),
        ((96, 144), 1.4, (128, 200), (136, 200)),
    ],
)
def test_the_sides_of_hires_keep_the_aspect_as_far_as_the_vae_can(size, scale, theirs, ours):
    for name, expected in ((None, ours), ("comfyui", ours), ("a1111", theirs)):
        request = Request(width=size[0], height=size[1], hires=scale, compat=name)
        part = resolve(request, FAMILIES["sd1"]).passes[1]
        assert (part.width, part.height) == expected


def test_sides_that_are_odd_within_the_network_can_be_drawn(tiny):
    (picture,) = tiny.txt2img("a cat", width=18, hires=1.6)
    assert picture.size == (28, 26)
