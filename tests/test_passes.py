"""Hires, tiles, seamless pictures, variations, colourising and guidance, each through the whole model."""

import numpy as np
import pytest
import torch
from PIL import Image

from ldm.colour import with_luminance
from ldm.images import to_tensor
from ldm.plan import noise_levels, passes
from ldm.request import Request
from ldm.samplers import Noise
from ldm.samplers.variation import centred, slerp
from ldm.sampling import overlap

PICTURE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (24, 32, 3), dtype=np.uint8))


def latents(model, request, image=None):
    return [step.x for step in model.steps(request, image)][-1]


def pixels(image):
    return np.asarray(image).astype(int)


def assert_same(one, other):
    torch.testing.assert_close(one, other, atol=1e-4 * other.abs().max().item(), rtol=0)


def first(model, request):
    """What the U-Net sees first: without guidance the first noise, at variance 1."""
    seen = []
    handle = model.unet.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    try:
        next(model.steps(request))
    finally:
        handle.remove()
    return seen[0]


# Hires


@pytest.mark.parametrize("pixel", [False, True])
def test_hires_goes_on_from_the_first_pass_at_its_own_size_and_steps(tiny, pixel):
    request = Request("a cat", seed=1, steps=4, hires=1.5, hires_steps=6, hires_strength=0.5, hires_pixels=pixel)
    steps = list(tiny.steps(request))
    assert [step.index for step in steps] == list(range(4 + 3))
    assert [tuple(step.x.shape[-2:]) for step in steps] == [(8, 8)] * 4 + [(12, 12)] * 3
    assert [step.sigma == 0 for step in steps] == [False] * 3 + [True] + [False] * 2 + [True]
    torch.testing.assert_close(steps[3].x, latents(tiny, Request("a cat", seed=1, steps=4)))
    assert tiny.txt2img("a cat", hires=1.5, hires_pixels=pixel)[0].size == (24, 24)


def test_the_second_pass_is_image_to_image_from_the_enlarged_picture(tiny):
    request = Request("a cat", seed=1, steps=4, hires=2, hires_strength=0.5, hires_pixels=True)
    low = tiny.decode(latents(tiny, Request("a cat", seed=1, steps=4)))
    high = torch.nn.functional.interpolate(low, (32, 32), mode="bicubic", antialias=True).clamp(-1, 1)
    assert_same(latents(tiny, request), latents(tiny, Request("a cat", seed=1, steps=4, strength=0.5), high))


def test_hires_of_strength_0_only_enlarges(tiny):
    steps = list(tiny.steps(Request("a cat", steps=2, hires=2, hires_strength=0)))
    assert len(steps) == 3
    small, large = steps[1].x, steps[2].x
    assert large.shape[-1] == 16
    assert_same(large, torch.nn.functional.interpolate(small, (16, 16), mode="bilinear", antialias=True))


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
    request, _ = tiny.settle(Request(steps=10, hires=1.6, hires_strength=0.3))
    one, two = passes(request, tiny.family)
    assert one is request
    assert (two.width, two.height, two.hires) == (24, 24, None)
    assert len(noise_levels(two, tiny.family)) == 4
    assert passes(two, tiny.family) == [two]


# Tiles


def test_a_tile_as_large_as_the_picture_changes_nothing(tiny):
    torch.testing.assert_close(latents(tiny, Request("a cat", tile=16)), latents(tiny, Request("a cat")))


def test_no_network_sees_more_than_a_tile(tiny):
    seen = []
    handles = [
        module.register_forward_pre_hook(lambda module, inputs: seen.append(tuple(inputs[0].shape[-2:])))
        for module in (tiny.unet, tiny.vae.encoder, tiny.vae.decoder)
    ]
    try:
        (picture,) = tiny.img2img("a cat", PICTURE, 0.5, width=64, height=48, tile=16)
    finally:
        for handle in handles:
            handle.remove()
    assert picture.size == (64, 48)
    assert set(seen) == {(8, 8), (16, 16)}


def test_enlarging_is_image_to_image_at_another_size_in_tiles_of_the_models(tiny):
    (picture,) = tiny.img2img("a cat", PICTURE, 0.5, enlarge=1.6, seed=3)
    assert picture.size == (52, 40)
    (same,) = tiny.img2img("a cat", PICTURE, 0.5, width=52, height=40, tile=16, seed=3)
    assert (pixels(picture) == pixels(same)).all()
    settled, _ = tiny.settle(Request("a cat", strength=0.5, enlarge=1.6), PICTURE)
    assert (settled.tile, settled.width, settled.height) == (16, 52, 40)
    (kept,) = tiny.img2img("a cat", to_tensor(PICTURE), 0.0, enlarge=1.6)
    assert kept.size == (52, 40)


def test_tiles_overlap_by_about_a_quarter():
    assert [overlap(tile, 8) for tile in (64, 512, 72, 8)] == [16, 128, 16, 0]


def test_tiles_and_hires_go_together(tiny):
    (picture,) = tiny.txt2img("a cat", tile=16, hires=3, hires_pixels=True)
    assert picture.size == (48, 48)


# Seamless


@pytest.mark.parametrize("axes", ["x", "y", "xy"])
def test_a_seamless_picture_may_be_shifted_round_its_edges(tiny, axes):
    z = latents(tiny, Request("a cat", seamless=axes))
    shifts, dims = [4] * len(axes), [{"x": -1, "y": -2}[axis] for axis in axes]
    picture = tiny.decode(z, axes=axes)
    assert_same(tiny.decode(z.roll(shifts, dims), axes=axes), picture.roll([8] * len(axes), dims))
    assert_same(to_tensor(tiny.txt2img("a cat", seamless=axes)[0]), to_tensor_rounded(picture))
    assert not torch.allclose(z, latents(tiny, Request("a cat")), atol=1e-2)
    assert not any("forward" in vars(module) for part in (tiny.unet, tiny.vae) for module in part.modules())


def to_tensor_rounded(picture):
    return ((picture + 1) * 127.5).round() / 127.5 - 1


def test_seamless_wishes_are_checked(tiny):
    with pytest.raises(ValueError, match="unknown direction to be seamless in 'z'"):
        tiny.txt2img("a cat", seamless="z")
    with pytest.raises(ValueError, match="drawn in tiles cannot be seamless"):
        tiny.txt2img("a cat", seamless="x", tile=16)


# Variations


def noise(seed, size=8):
    return Noise([seed])(torch.empty(1, 4, size, size))


def test_a_variation_starts_between_two_noises(tiny):
    base = {"scale": 1, "seed": 5}
    torch.testing.assert_close(first(tiny, Request(**base, variation=0.0, variation_seed=9)), noise(5))
    torch.testing.assert_close(first(tiny, Request(**base, variation=1.0, variation_seed=9)), noise(9))
    middle = first(tiny, Request(**base, variation=0.3, variation_seed=9))
    torch.testing.assert_close(middle, slerp(noise(5), noise(9), 0.3))


def test_a_small_variation_is_a_similar_picture(tiny):
    def distance(amount):
        varied = latents(tiny, Request("a cat", seed=5, variation=amount, variation_seed=9))
        return (varied - latents(tiny, Request("a cat", seed=5))).norm()

    assert 0 < distance(0.05) < distance(0.3) < distance(1.0)


def test_later_noise_is_the_seeds_own(tiny):
    """So that a variation of amount 0 is the picture, whatever the sampler."""
    request = Request("a cat", seed=5, sampler="euler_ancestral")
    varied = Request("a cat", seed=5, sampler="euler_ancestral", variation=1e-6, variation_seed=9)
    torch.testing.assert_close(latents(tiny, varied), latents(tiny, request), atol=1e-3, rtol=1e-3)


def test_a_seed_may_bring_its_noise_from_another_size(tiny):
    seen = first(tiny, Request(scale=1, seed=5, width=24, height=24, noise_width=16, noise_height=16))
    torch.testing.assert_close(seen, centred(noise(5), noise(5, 12)))
    same = first(tiny, Request(scale=1, seed=5, noise_width=16))
    torch.testing.assert_close(same, noise(5))


def test_variations_do_not_depend_on_their_batch(tiny):
    options = {"variation": 0.2, "variation_seed": 3, "noise_height": 24}
    together = latents(tiny, Request("a cat", seed=1, count=3, **options))
    assert_same(together[2:], latents(tiny, Request("a cat", seed=3, **options)))


# Colour


def test_colourising_keeps_the_luminance(tiny):
    grey = PICTURE.convert("L").convert("RGB")
    (picture,) = tiny.img2img("a cat", grey, 1.0, colourise=True)
    assert np.abs(pixels(picture.convert("L")) - pixels(PICTURE.convert("L"))).max() <= 2
    assert np.ptp(pixels(picture), axis=-1).max() > 3


def test_each_guess_has_the_sources_luminance_and_not_only_the_last(tiny):
    grey = PICTURE.convert("L").convert("RGB")
    plain = next(tiny.steps(Request("a cat", strength=1.0, colourise=False), grey)).denoised
    kept = next(tiny.steps(Request("a cat", strength=1.0, colourise=True), grey)).denoised
    expected = tiny.encode(with_luminance(tiny.decode(plain), to_tensor(grey)))
    torch.testing.assert_close(kept, expected, atol=1e-4, rtol=1e-4)


def test_repeated_image_to_image_does_not_drift(tiny):
    """Random weights change the colours at once; matched, they stay the picture's after five rounds."""
    picture = Image.fromarray((pixels(PICTURE) // 2 + 60).astype(np.uint8))
    free = held = picture
    for seed in range(5):
        (free,) = tiny.img2img("a cat", free, 0.25, seed=seed)
        (held,) = tiny.img2img("a cat", held, 0.25, seed=seed, match_colours=True)

    def drift(image):
        return np.abs(pixels(image).mean((0, 1)) - pixels(picture).mean((0, 1))).max()

    assert drift(held) < 5 < drift(free)


# Guidance


def test_guidance_in_an_interval_and_rescaled_reach_the_model(tiny):
    plain, strong = latents(tiny, Request("a cat", scale=1)), latents(tiny, Request("a cat", scale=3))
    assert_same(latents(tiny, Request("a cat", scale=3, guide_low=100.0)), plain)
    assert_same(latents(tiny, Request("a cat", scale=3, guide_high=0.0)), plain)
    assert_same(latents(tiny, Request("a cat", scale=3, guide_high=100.0)), strong)
    part = latents(tiny, Request("a cat", scale=3, guide_high=10.0))
    assert not torch.allclose(part, plain, atol=1e-3)
    assert not torch.allclose(part, strong, atol=1e-3)
    assert not torch.allclose(latents(tiny, Request("a cat", scale=3, rescale=0.7)), strong, atol=1e-3)
